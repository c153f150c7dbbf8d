package affinity

// ghosts remembers, roughly and in 4 bytes each, the ids of entries that were
// evicted or refused while their session was alive. An id that comes back is a
// session that the table broke: the one figure that says whether it is large
// enough. A newer id takes the place of an older one with the same lower bits,
// so the memory fades and never grows.
type ghosts []uint32

// newGhosts remembers between half and all of as many ids as there are entries.
func newGhosts(capacity int) ghosts {
	n := 1
	for n*2 <= capacity {
		n *= 2
	}
	return make(ghosts, n)
}

// The lower half of an id chooses the place, the upper one is kept; 0 is empty.
func (g ghosts) put(id uint64) {
	g[id&uint64(len(g)-1)] = uint32(id>>32) | 1
}

// take forgets the id and reports whether it was known.
func (g ghosts) take(id uint64) bool {
	p := &g[id&uint64(len(g)-1)]
	if *p != uint32(id>>32)|1 {
		return false
	}
	*p = 0
	return true
}
