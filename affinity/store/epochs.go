package store

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	bolt "go.etcd.io/bbolt"
)

// A key that is forgotten leaves no record, and a process that is killed leaves none of
// what it changed last; yet no epoch may be given twice, and none go back. So the file has a
// promise: an epoch that none which was given is above. It runs ahead of the clock, so that
// it is written twice a minute and not with every binding. A process begins above the
// promise of the one before and, if that was killed, so do the bindings that it left: the
// last epochs that their pods were told are not known. One that ends in good order leaves
// the highest epoch that there was, and each binding its own.

// epochBucket holds the promise; its name is the promise's format: none above and at least
// (uvarint), 1 if the process ended in good order (1 byte), and CRC-32C.
var (
	epochBucket = []byte("stateful-route epochs 1")
	promiseKey  = []byte("promise")
	errPromise  = errors.New("what it says of epochs cannot be read")
)

// aheadBy is how far the promise runs ahead, and at least half of it at any time, in epochs
// and so in milliseconds.
const aheadBy = 60_000

// promise is what a file says of epochs. That of a file from before there were any is zero.
type promise struct {
	noneAbove uint64
	atLeast   uint64 // what a record says is less counts as this
	ended     bool   // in good order
}

func (p promise) encode() []byte {
	out := binary.AppendUvarint(binary.AppendUvarint(nil, p.noneAbove), p.atLeast)
	if p.ended {
		out = append(out, 1)
	} else {
		out = append(out, 0)
	}
	return binary.LittleEndian.AppendUint32(out, checksum(promiseKey, out))
}

func decodePromise(value []byte) (p promise, err error) {
	n := len(value) - crc32.Size
	if n < 1 || checksum(promiseKey, value[:n]) != binary.LittleEndian.Uint32(value[n:]) {
		return p, errPromise
	}
	r := reader{buf: value[:n]}
	p.noneAbove, p.atLeast = r.uvarint(), r.uvarint()
	if r.short || len(r.buf) != 1 {
		return promise{}, errPromise
	}
	p.ended = r.buf[0] == 1
	return p, nil
}

func loadPromise(tx *bolt.Tx) (promise, error) {
	if b := tx.Bucket(epochBucket); b != nil {
		return decodePromise(b.Get(promiseKey))
	}
	return promise{}, nil
}

// settleEpochs gives the bindings the epochs that they have from now on, and returns what
// they are at least.
func (f *Found) settleEpochs(now time.Time) (atLeast uint64) {
	atLeast = f.promise.atLeast
	f.EpochsAbove = max(f.promise.noneAbove, atLeast)
	for i := range f.Bindings {
		f.EpochsAbove = max(f.EpochsAbove, f.Bindings[i].Epoch)
	}
	if f.Damage != nil { // nor need the promise be the last one
		f.EpochsAbove = max(f.EpochsAbove, millis(now)+aheadBy)
	}
	if f.Damage != nil || f.promise != (promise{}) && !f.promise.ended {
		f.EpochsAbove++
		atLeast = f.EpochsAbove
	}
	for i := range f.Bindings {
		f.Bindings[i].Epoch = max(f.Bindings[i].Epoch, atLeast)
	}
	return atLeast
}

func millis(t time.Time) uint64 { return uint64(max(t.UnixMilli(), 0)) }

// noteEpoch takes note of a binding's epoch, before anything else is done with it.
func (s *Store) noteEpoch(epoch uint64) {
	for {
		highest := s.highest.Load()
		if epoch <= highest || s.highest.CompareAndSwap(highest, epoch) {
			return
		}
	}
}

// due is what the file is to promise that promises have: the same, if that will do.
func (s *Store) due(have promise) promise {
	highest := s.highest.Load()
	due := promise{noneAbove: have.noneAbove, atLeast: s.atLeast, ended: s.ending}
	switch ahead := max(highest, millis(s.options.now())); {
	case s.ending:
		due.noneAbove = highest
	case have.noneAbove < ahead+aheadBy/2:
		due.noneAbove = ahead + aheadBy
	}
	return due
}

// promiseDue reports whether the file has to promise something else.
func (s *Store) promiseDue() bool { return s.due(s.promised) != s.promised }

// writePromise is a step of the writer, for times in which nothing else is written.
func (w *writer) writePromise() (more bool, err error) {
	if !w.store.promiseDue() {
		return false, nil
	}
	return false, w.store.update(func(*bolt.Bucket) error { return nil })
}

// keepPromise makes the promise that is due part of a transaction, whichever file that is
// in, and returns it.
func (s *Store) keepPromise(tx *bolt.Tx) (promise, error) {
	have, _ := loadPromise(tx) // one that cannot be read is written anew
	due := s.due(have)
	if due == have {
		return have, nil
	}
	b, err := tx.CreateBucketIfNotExists(epochBucket)
	if err != nil {
		return promise{}, err
	}
	return due, b.Put(promiseKey, due.encode())
}
