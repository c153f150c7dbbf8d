package affinity

// ghosts remembers, roughly and in 4 bytes each, the ids of entries that were
// evicted or refused while their session was alive, with their policy's mark.
// An id that comes back is a session that the table broke: the one figure that
// says whether it is large enough. A newer id takes the place of an older one
// with the same lower bits, so the memory fades and never grows.
type ghosts []uint32

// newGhosts remembers between half and all of as many ids as there are entries.
func newGhosts(capacity int) ghosts {
	n := 1
	for n*2 <= capacity {
		n *= 2
	}
	return make(ghosts, n)
}

// fingerprint is the part of an id above the mark; never 0, which is no ghost.
// The shard's index is in the id's upper bits and its place among the ghosts in
// the lower ones, so the middle tells most.
func fingerprint(id uint64) uint32 {
	return max(uint32(id>>20)&^markMask, 1<<markBits)
}

func (g ghosts) put(id uint64, mark uint8) {
	g[id&uint64(len(g)-1)] = fingerprint(id) | uint32(mark)&markMask
}

// take forgets the id; ok reports whether it was known.
func (g ghosts) take(id uint64) (mark uint8, ok bool) {
	p := &g[id&uint64(len(g)-1)]
	if *p&^markMask != fingerprint(id) {
		return 0, false
	}
	mark, *p = uint8(*p&markMask), 0
	return mark, true
}
