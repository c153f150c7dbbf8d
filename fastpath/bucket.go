package fastpath

import "github.com/stateful-route/stateful-route/fastpath/internal/layout"

// entry is one of a bucket's places for a binding.
type entry struct {
	bucket uint64 // its offset
	index  uint64
}

func (e entry) hash() uint64 { return e.bucket + layout.BucketHashes + 12*e.index }
func (e entry) pod() uint64  { return e.bucket + layout.BucketPods + 4*e.index }
func (e entry) use() uint64  { return e.bucket + layout.BucketUses + 4*e.index }

// bucketsOf are the offsets of both buckets in which a hash may be.
func (t *Table) bucketsOf(h layout.Hash) [2]uint64 {
	b := h.Buckets(t.places.nBuckets)
	return [2]uint64{t.places.buckets + b[0]*layout.BucketSize, t.places.buckets + b[1]*layout.BucketSize}
}

func (t *Table) hashOf(e entry) layout.Hash {
	at := e.hash()
	return layout.Hash{A: uint64(t.mem.Load32(at)) | uint64(t.mem.Load32(at+4))<<32, B: t.mem.Load32(at + 8)}
}

// find returns where a hash is.
func (t *Table) find(h layout.Hash) (entry, bool) {
	for _, bucket := range t.bucketsOf(h) {
		for i := range uint64(layout.BucketEntries) {
			if e := (entry{bucket, i}); t.mem.Load32(e.pod()) != 0 && t.hashOf(e) == h {
				return e, true
			}
		}
	}
	return entry{}, false
}

// idOf is what an entry's session has for the caller.
func (t *Table) idOf(e entry) *uint64 {
	return &t.ids[(e.bucket-t.places.buckets)/layout.BucketSize*layout.BucketEntries+e.index]
}

// put writes an entry, or with pod 0 empties it.
func (t *Table) put(e entry, h layout.Hash, pod, use uint32) {
	before := t.mem.Load32(e.pod())
	t.mem.Write(e.bucket+layout.BucketSeq, func() { t.write(e, h, pod, use) })
	t.count(before, -1)
	t.count(pod, 1)
}

func (t *Table) write(e entry, h layout.Hash, pod, use uint32) {
	at := e.hash()
	t.mem.Store32(at, uint32(h.A))
	t.mem.Store32(at+4, uint32(h.A>>32))
	t.mem.Store32(at+8, h.B)
	t.mem.Store32(e.pod(), pod)
	t.mem.Store32(e.use(), use)
}

// count keeps how many entries there are, and of each pod.
func (t *Table) count(pod uint32, by int) {
	if pod == 0 {
		return
	}
	t.bindings += by
	p := &t.pods[pod-1]
	if p.entries += by; p.entries == 0 && p.removed {
		p.since = t.now()
	}
}

// free returns an empty entry of a bucket, and how many there are.
func (t *Table) free(bucket uint64) (e entry, n int) {
	for i := range uint64(layout.BucketEntries) {
		if one := (entry{bucket, i}); t.mem.Load32(one.pod()) == 0 {
			e = one
			n++
		}
	}
	return e, n
}

// place finds an empty entry for a hash in the emptier of its buckets or, where both are full,
// makes one.
func (t *Table) place(h layout.Hash) (entry, bool) {
	b := t.bucketsOf(h)
	first, n := t.free(b[0])
	if second, more := t.free(b[1]); more > n {
		return second, true
	}
	if n > 0 {
		return first, true
	}
	return t.displace(b)
}

// displaced is a bucket that is full, and the entry of an earlier one that could move there.
type displaced struct {
	bucket uint64
	from   int // the earlier one, -1 for the hash's own
	index  uint64
}

// maxLooked bounds how many full buckets are looked at for one binding: its own two, those of
// the six bindings there, and those of the eighteen there.
const maxLooked = 2 + 6 + 18

// displace has bindings move to their other bucket until an entry in one of b is empty.
func (t *Table) displace(b [2]uint64) (entry, bool) {
	var room [maxLooked]displaced
	looked := append(room[:0], displaced{b[0], -1, 0}, displaced{b[1], -1, 0})
	for i := 0; i < len(looked); i++ {
		for index := range uint64(layout.BucketEntries) {
			e := entry{looked[i].bucket, index}
			other := t.otherBucket(e)
			if to, n := t.free(other); n > 0 {
				return t.shift(looked, i, e, to), true
			}
			if len(looked) < maxLooked && other != e.bucket {
				looked = append(looked, displaced{other, i, index})
			}
		}
	}
	return entry{}, false
}

// otherBucket is where else the binding of an entry may be.
func (t *Table) otherBucket(e entry) uint64 {
	b := t.bucketsOf(t.hashOf(e))
	if b[0] == e.bucket {
		return b[1]
	}
	return b[0]
}

// shift moves e, in the bucket looked[i], to an empty entry, then the one that was to take its
// place, and so on; it returns the entry that is empty in the end.
func (t *Table) shift(looked []displaced, i int, e, to entry) entry {
	for {
		t.move(e, to)
		d := looked[i]
		if d.from < 0 {
			return e
		}
		to = e
		i = d.from
		e = entry{looked[i].bucket, d.index}
	}
}

// move has a binding be in its new place before it leaves the old one. Uses that readers
// count meanwhile go along.
func (t *Table) move(from, to entry) {
	m, h, pod := t.mem, t.hashOf(from), t.mem.Load32(from.pod())
	t.put(to, h, pod, m.Load32(from.use())&^0xffff)
	*t.idOf(to) = *t.idOf(from)
	use := uint32(0)
	m.Write(from.bucket+layout.BucketSeq, func() {
		use = m.Swap32(from.use(), 0)
		t.write(from, layout.Hash{}, 0, 0)
	})
	t.count(pod, -1)
	for {
		now := m.Load32(to.use())
		if m.CompareAndSwap32(to.use(), now, latest(now, use)|min(now&0xffff+use&0xffff, 0xffff)) {
			return
		}
	}
}

// latest is when the later of two uses was.
func latest(a, b uint32) uint32 {
	if int16(a>>16-b>>16) > 0 {
		return a &^ 0xffff
	}
	return b &^ 0xffff
}
