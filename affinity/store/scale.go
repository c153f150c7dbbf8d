package store

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Times in the file are Unix nanoseconds as the wall clock had them when the file was
// begun; from then on they go by the machine's monotonic clock, which nobody sets. So
// that the next process knows what they mean, the file has a mark: one moment by both
// clocks, and by how much the wall clock has been set since. In one boot of the machine
// the times are right whatever was done to the wall clock; after another boot they are
// as right as the wall clock was set while a process was there to see it.

// scaleBucket holds the mark; its name is the mark's format.
var (
	scaleBucket = []byte("stateful-route clock 1")
	markKey     = []byte("mark")
)

// believed is how far the wall clock may be from what the mark makes of the monotonic
// one to be taken for right: it is slewed and read at another instant.
const believed = 2 * time.Second

// moment is one instant by all clocks.
type moment struct {
	at   time.Time     // with a monotonic reading, but in tests
	boot string        // names the machine's present boot; "" if not known
	mono time.Duration // since then
}

// scale turns times into those of the file and back.
type scale struct {
	moment
	file int64 // the file's time at the moment
}

// mark is a scale as it is kept.
type mark struct {
	boot       string
	mono       time.Duration
	file       int64
	correction int64 // what is to be added to the file's times for the wall clock's
}

// newScale goes on with the scale of a file whose mark is m; zero is none.
func newScale(now moment, m mark) scale {
	wall := now.at.UnixNano()
	s := scale{now, wall - m.correction}
	if m.boot != "" && m.boot == now.boot && now.mono >= m.mono {
		s.file = m.file + int64(now.mono-m.mono)
	}
	if off := time.Duration(wall - s.file); off.Abs() <= believed {
		s.file = wall
	}
	return s
}

// nanos is a time as it is written.
func (s *scale) nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return s.file + int64(t.Sub(s.at))
}

// shift is what is to be added to times that were read.
func (s *scale) shift() time.Duration { return time.Duration(s.at.UnixNano() - s.file) }

// mark is what the file must hold, given the time.
func (s *scale) mark(now time.Time) mark {
	off := time.Duration(now.UnixNano() - s.nanos(now))
	return mark{boot: s.boot, mono: s.mono, file: s.file, correction: int64(off.Round(time.Second))}
}

func (m mark) encode() []byte {
	out := binary.AppendUvarint(nil, uint64(len(m.boot)))
	out = append(out, m.boot...)
	out = binary.AppendVarint(out, int64(m.mono))
	out = binary.AppendVarint(out, m.file)
	out = binary.AppendVarint(out, m.correction)
	return binary.LittleEndian.AppendUint32(out, checksum(markKey, out))
}

// decodeMark reads a mark; one that is damaged is none.
func decodeMark(value []byte) (m mark) {
	n := len(value) - crc32.Size
	if n < 1 || checksum(markKey, value[:n]) != binary.LittleEndian.Uint32(value[n:]) {
		return mark{}
	}
	r := reader{buf: value[:n]}
	m.boot = string(r.bytes())
	m.mono = time.Duration(r.varint())
	m.file = r.varint()
	m.correction = r.varint()
	if r.short || len(r.buf) > 0 {
		return mark{}
	}
	return m
}

func loadMark(tx *bolt.Tx) mark {
	if b := tx.Bucket(scaleBucket); b != nil {
		return decodeMark(b.Get(markKey))
	}
	return mark{}
}

// keepMark writes the mark unless the file has it. It is part of every transaction,
// whichever file that is in.
func keepMark(tx *bolt.Tx, m mark) error {
	if loadMark(tx) == m {
		return nil
	}
	b, err := tx.CreateBucketIfNotExists(scaleBucket)
	if err != nil {
		return err
	}
	return b.Put(markKey, m.encode())
}
