package affinity

import "math/bits"

// index finds the slot of an id. It is a hash table with open addressing and
// linear probing (Knuth, The Art of Computer Programming 3, 6.4, Algorithms L and
// R). A cell is 32 bits: the slot, and as many of the id's lower bits as there is
// room for. They tell where the id's search begins and nearly always whether the
// entry is worth a look: the table of a million ids is 5 MB, which a processor's
// cache holds where it cannot hold the entries.
type index struct {
	cells    []uint32 // 0: empty. Their number is a power of two
	n        int
	slotBits int
}

const (
	// leastCells is the size of an index with anything in it.
	leastCells = 64
	// An index is doubled when it would be more than seven eighths full.
	fullNum, fullDen = 7, 8
	// maxCells is as many as leave a cell room for all bits of its number beside
	// a slot.
	maxCells = 1 << 15
	// maxPerShard is the number of entries that such an index takes.
	maxPerShard = maxCells / fullDen * fullNum
)

func (x *index) cell(id uint64, slot uint32) uint32 { return uint32(id)<<x.slotBits | slot }

// find returns the entry of an id, nil if there is none.
func (x *index) find(id uint64, s *slab) *Entry {
	if x.n == 0 {
		return nil
	}
	mask := uint32(len(x.cells) - 1)
	slotMask := uint32(1)<<x.slotBits - 1
	want := x.cell(id, 0)
	for i := uint32(id) & mask; ; i = (i + 1) & mask {
		c := x.cells[i]
		if c == 0 {
			return nil
		}
		if c&^slotMask == want {
			if e := s.at(c & slotMask); e.id == id {
				return e
			}
		}
	}
}

// add puts in an id that is not there.
func (x *index) add(id uint64, slot uint32) {
	if (x.n+1)*fullDen > len(x.cells)*fullNum {
		x.grow()
	}
	x.n++
	x.put(x.cell(id, slot), uint32(id))
}

func (x *index) put(cell, home uint32) {
	mask := uint32(len(x.cells) - 1)
	i := home & mask
	for x.cells[i] != 0 {
		i = (i + 1) & mask
	}
	x.cells[i] = cell
}

// grow doubles the cells. Each then has room for one bit of the id less, but the
// old ones had all that the new ones need: at least as many as tell their place.
func (x *index) grow() {
	old, oldBits := x.cells, x.slotBits
	x.cells = make([]uint32, max(2*len(old), leastCells))
	x.slotBits = bits.Len(uint(len(x.cells)))
	for _, c := range old {
		if c != 0 {
			lower := c >> oldBits
			x.put(x.cell(uint64(lower), c&(1<<oldBits-1)), lower)
		}
	}
}

// remove takes out an id that is there, and moves up the cells behind it that
// would not be found across the gap.
func (x *index) remove(id uint64, slot uint32) {
	x.n--
	mask := uint32(len(x.cells) - 1)
	gap := uint32(id) & mask
	for x.cells[gap] != x.cell(id, slot) {
		gap = (gap + 1) & mask
	}
	for i := (gap + 1) & mask; x.cells[i] != 0; i = (i + 1) & mask {
		home := x.cells[i] >> x.slotBits & mask
		if (i-home)&mask >= (i-gap)&mask {
			x.cells[gap], gap = x.cells[i], i
		}
	}
	x.cells[gap] = 0
}
