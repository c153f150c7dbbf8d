package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"

	statefulroute "github.com/stateful-route/stateful-route"
)

// A key that is forgotten leaves no record, and a process that is killed leaves none of
// what it bound last; yet no epoch may be given twice. So the file has a promise: an epoch
// that none which was given is above. It runs ahead of the clock, so that it is written
// twice a minute and not with every binding, and a process begins above that of the one
// before. One that ends in good order leaves the highest epoch that there was.

// epochBucket holds the promise; its name is the promise's format: a uvarint and CRC-32C.
var (
	epochBucket = []byte("stateful-route epochs 1")
	promiseKey  = []byte("none above")
	errPromise  = errors.New("what it says of epochs cannot be read")
)

// aheadBy is how far the promise runs ahead, and at least half of it at any time, in epochs
// and so in milliseconds.
const aheadBy = 60_000

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
func (s *Store) due(have uint64) uint64 {
	highest := s.highest.Load()
	if s.ending {
		return highest
	}
	if now := s.options.now().UnixMilli(); now > 0 {
		highest = max(highest, uint64(now))
	}
	if have < highest+aheadBy/2 {
		return highest + aheadBy
	}
	return have
}

// promiseDue reports whether the file has to promise more.
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
func (s *Store) keepPromise(tx *bolt.Tx) (uint64, error) {
	have, _ := loadPromise(tx) // one that cannot be read is written anew
	due := s.due(have)
	if due == have {
		return have, nil
	}
	b, err := tx.CreateBucketIfNotExists(epochBucket)
	if err != nil {
		return 0, err
	}
	value := binary.AppendUvarint(nil, due)
	return due, b.Put(promiseKey, binary.LittleEndian.AppendUint32(value, checksum(promiseKey, value)))
}

// loadPromise reads the promise; 0 is none, as in files from before there were epochs.
func loadPromise(tx *bolt.Tx) (uint64, error) {
	b := tx.Bucket(epochBucket)
	if b == nil {
		return 0, nil
	}
	value := b.Get(promiseKey)
	n := len(value) - crc32.Size
	if n < 1 || checksum(promiseKey, value[:n]) != binary.LittleEndian.Uint32(value[n:]) {
		return 0, errPromise
	}
	r := reader{buf: value[:n]}
	promise := r.uvarint()
	if r.short || len(r.buf) > 0 {
		return 0, fmt.Errorf("%w: %w", errPromise, errShort)
	}
	return promise, nil
}

// highestEpoch is that of some bindings.
func highestEpoch(bs []statefulroute.Binding) (highest uint64) {
	for i := range bs {
		highest = max(highest, bs[i].Epoch)
	}
	return highest
}
