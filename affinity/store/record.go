package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// A record's key is the service, its length in front, and the session key.
// Its value is, in this order: version (1 byte), created and last seen (varint,
// nanoseconds on the file's scale), requests and epoch (uvarint), pod and previous pod
// (uvarint length and bytes), and CRC-32C over the record's key and all of the above (4
// bytes, little-endian).
const recordVersion = 2

// withoutEpoch is the version of records from before there were epochs, which are as
// those of today but for that.
const withoutEpoch = 1

var (
	errChecksum = errors.New("checksum does not match")
	errOrder    = errors.New("record is out of order")
	errShort    = errors.New("record is cut off")
	castagnoli  = crc32.MakeTable(crc32.Castagnoli)
)

func recordKey(service, key string) []byte {
	out := make([]byte, 0, 2+len(service)+len(key))
	out = binary.AppendUvarint(out, uint64(len(service)))
	out = append(out, service...)
	return append(out, key...)
}

// splitKey is the inverse of recordKey; ok is false for what is no record's key.
func splitKey(key []byte) (k changeKey, ok bool) {
	r := reader{buf: key}
	k.service = string(r.bytes())
	k.key = string(r.buf)
	return k, !r.short
}

func recordValue(key []byte, b *statefulroute.Binding, s *scale) []byte {
	out := make([]byte, 0, 40+len(b.Pod)+len(b.PreviousPod))
	out = append(out, recordVersion)
	out = binary.AppendVarint(out, s.nanos(b.Created))
	out = binary.AppendVarint(out, s.nanos(b.LastSeen))
	out = binary.AppendUvarint(out, b.Requests)
	out = binary.AppendUvarint(out, b.Epoch)
	for _, s := range []string{b.Pod, b.PreviousPod} {
		out = binary.AppendUvarint(out, uint64(len(s)))
		out = append(out, s...)
	}
	return binary.LittleEndian.AppendUint32(out, checksum(key, out))
}

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, key), castagnoli, value)
}

// decoder decodes records. It hands out one string for each name of a service
// or pod, of which there are few.
type decoder struct {
	names map[string]string
	old   bool // a record of an earlier version was read
}

func newDecoder() *decoder { return &decoder{names: map[string]string{}} }

func (d *decoder) name(b []byte) string {
	if s, ok := d.names[string(b)]; ok {
		return s
	}
	s := string(b)
	d.names[s] = s
	return s
}

// decode reads a record; it keeps neither slice.
func (d *decoder) decode(key, value []byte) (b statefulroute.Binding, err error) {
	n := len(value) - crc32.Size
	if n < 1 {
		return b, errShort
	}
	if checksum(key, value[:n]) != binary.LittleEndian.Uint32(value[n:]) {
		return b, errChecksum
	}
	if value[0] != recordVersion && value[0] != withoutEpoch {
		return b, fmt.Errorf("record version %d is neither %d nor %d", value[0], withoutEpoch, recordVersion)
	}
	k, v := reader{buf: key}, reader{buf: value[1:n]}
	b.Service = d.name(k.bytes())
	b.Key = string(k.buf)
	b.Created = time.Unix(0, v.varint())
	b.LastSeen = time.Unix(0, v.varint())
	b.Requests = v.uvarint()
	if value[0] == withoutEpoch {
		d.old = true
		b.Epoch = uint64(max(b.Created.UnixMilli(), 1)) // the same, whenever it is read
	} else {
		b.Epoch = v.uvarint()
	}
	b.Pod = d.name(v.bytes())
	b.PreviousPod = d.name(v.bytes())
	if k.short || v.short || len(v.buf) > 0 {
		return statefulroute.Binding{}, errShort
	}
	return b, nil
}

// reader reads values off the front of buf; short is set when it runs out.
type reader struct {
	buf   []byte
	short bool
}

func (r *reader) uvarint() uint64 {
	x, n := binary.Uvarint(r.buf)
	r.advance(n)
	return x
}

func (r *reader) varint() int64 {
	x, n := binary.Varint(r.buf)
	r.advance(n)
	return x
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.buf)) {
		r.short = true
		return nil
	}
	out := r.buf[:n]
	r.buf = r.buf[n:]
	return out
}

func (r *reader) advance(n int) {
	if n <= 0 {
		r.short, r.buf = true, nil
		return
	}
	r.buf = r.buf[n:]
}
