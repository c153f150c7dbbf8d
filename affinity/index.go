package affinity

import "math/bits"

// index finds the slot of an id. It is a hash table with open addressing over
// buckets of 15 slots, as Meta's F14 (Bronson and Shi, "Open-sourcing F14", 2019): a
// bucket has a byte of the id for each of its slots, and a count of the entries that
// would be in it had there been room. A search looks at the entries whose byte is the
// id's, and goes on to the next bucket only if something had to. The table of a
// million ids is 1.2 MB, which a processor's cache holds where it cannot hold the
// entries; and as the slot follows from the place, there is nothing else to read
// before the entry.
type index struct {
	buckets []bucket
	n       int
}

// bucket is 15 tags, 0 for a slot that is free, and in the uppermost byte the
// count of entries that went on.
type bucket [2]uint64

const (
	// firstSlot is that of the first bucket's first entry; 0 is no entry's.
	firstSlot = 1

	bucketSlots = 15
	// A bucket has 13 entries at most on average before the index grows.
	bucketFill = 13

	everyByte = 0x0101_0101_0101_0101
	lowBits   = 0x7f7f_7f7f_7f7f_7f7f
	tagsOfTwo = 1<<56 - 1 // of the second word
	oneMore   = 1 << 56
	mostMore  = 255
)

// bucketsFor is the number of buckets for n ids.
func bucketsFor(n int) int { return max((n+bucketFill-1)/bucketFill, 1) }

func newIndex(buckets int) index { return index{buckets: make([]bucket, buckets)} }

// full reports whether one more id is too many.
func (x *index) full() bool { return x.n >= len(x.buckets)*bucketFill }

func (x *index) home(id uint64) int {
	g, _ := bits.Mul64(id<<32, uint64(len(x.buckets)))
	return int(g)
}

// tag is 1 to 255, from bits of the id that neither its shard nor its home depend on.
func tag(id uint64) uint64 { return max(id>>32&0xff, 1) }

// equal has the upper bit of each byte that is b in w.
func equal(w, b uint64) uint64 {
	w ^= b * everyByte
	return ^((w&lowBits + lowBits) | w | lowBits)
}

func (b *bucket) more() uint64 { return b[1] >> 56 }

// find returns the entry of an id, nil if there is none.
func (x *index) find(id uint64, entries []entry) *entry {
	t, at := tag(id), x.home(id)
	for range x.buckets { // the entries that went on may go round all of a small index
		b := &x.buckets[at]
		slots := entries[firstSlot+at*bucketSlots:][:bucketSlots]
		for m := equal(b[0], t); m != 0; m &= m - 1 {
			if e := &slots[bits.TrailingZeros64(m)>>3]; e.ID == id {
				return e
			}
		}
		for m := equal(b[1], t) & tagsOfTwo; m != 0; m &= m - 1 {
			if e := &slots[8+bits.TrailingZeros64(m)>>3]; e.ID == id {
				return e
			}
		}
		if b.more() == 0 {
			break
		}
		at = x.next(at)
	}
	return nil
}

func (x *index) next(at int) int {
	if at++; at < len(x.buckets) {
		return at
	}
	return 0
}

// add finds a slot for an id that is not there. There must be a free one.
func (x *index) add(id uint64) (slot uint32) {
	x.n++
	for at := x.home(id); ; at = x.next(at) {
		b := &x.buckets[at]
		for w := range b {
			free := equal(b[w], 0)
			if w == 1 {
				free &= tagsOfTwo
			}
			if free != 0 {
				i := bits.TrailingZeros64(free) >> 3
				b[w] |= tag(id) << (8 * i)
				return uint32(firstSlot + at*bucketSlots + 8*w + i)
			}
		}
		if b.more() < mostMore {
			b[1] += oneMore
		}
	}
}

// remove takes out the id in a slot.
func (x *index) remove(id uint64, slot uint32) {
	x.n--
	in, i := int(slot-firstSlot)/bucketSlots, int(slot-firstSlot)%bucketSlots
	x.buckets[in][i/8] &^= 0xff << (8 * (i % 8))
	for at := x.home(id); at != in; at = x.next(at) {
		// A count that is at its most may have missed some: it stays.
		if b := &x.buckets[at]; b.more() < mostMore {
			b[1] -= oneMore
		}
	}
}
