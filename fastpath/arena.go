package fastpath

import (
	"cmp"
	"slices"
)

// extent is a piece of the arena, whose size is a multiple of 8.
type extent struct{ off, size uint64 }

// arena says which pieces of it are in use, in their order.
type arena struct{ used []extent }

// take finds the first gap of so many bytes, of all there are.
func (a *arena) take(size, all uint64) (extent, bool) {
	e := extent{size: (size + 7) &^ 7}
	i := slices.IndexFunc(a.used, func(u extent) bool {
		if u.off-e.off >= e.size {
			return true
		}
		e.off = u.off + u.size
		return false
	})
	if i < 0 {
		i = len(a.used)
	}
	if e.size > all || e.off > all-e.size {
		return extent{}, false
	}
	a.used = slices.Insert(a.used, i, e)
	return e, true
}

// release gives a piece back; an empty one is none.
func (a *arena) release(e extent) {
	if i, found := slices.BinarySearchFunc(a.used, e.off, func(u extent, off uint64) int { return cmp.Compare(u.off, off) }); found && e.size > 0 {
		a.used = slices.Delete(a.used, i, i+1)
	}
}
