package affinity

import "github.com/hashicorp/golang-lru/v2/simplelru"

// ghosts remembers the ids of entries that were evicted or refused while their
// session was alive, with their policy's mark, as the ghost lists of ARC do. An id
// that comes back is a session that the table broke: the one figure that says
// whether it is large enough.
type ghosts struct {
	ids *simplelru.LRU[uint64, uint8]
}

// newGhosts remembers half as many ids as there are entries.
func newGhosts(capacity int) ghosts {
	ids, err := simplelru.NewLRU[uint64, uint8](max(capacity/2, 1), nil)
	if err != nil {
		panic(err) // a size below 1
	}
	return ghosts{ids}
}

func (g ghosts) put(id uint64, mark uint8) { g.ids.Add(id, mark) }

// take forgets the id; ok reports whether it was known.
func (g ghosts) take(id uint64) (mark uint8, ok bool) {
	if mark, ok = g.ids.Peek(id); ok {
		g.ids.Remove(id)
	}
	return mark, ok
}
