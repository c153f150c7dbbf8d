package affinity

import "github.com/hashicorp/golang-lru/v2/simplelru"

// recency keeps entries in the order of their last use. It is the base of the
// strategies that look at nothing else to find the oldest.
type recency struct {
	entries  *simplelru.LRU[uint64, *Entry]
	capacity int
}

func newRecency(capacity int) recency {
	entries, err := simplelru.NewLRU[uint64, *Entry](capacity, nil)
	if err != nil {
		panic(err) // a capacity below 1, which Options.validate refuses
	}
	return recency{entries: entries, capacity: capacity}
}

func (r *recency) Get(id uint64) *Entry {
	e, _ := r.entries.Get(id)
	return e
}

func (r *recency) Peek(id uint64) *Entry {
	e, _ := r.entries.Peek(id)
	return e
}

func (r *recency) Remove(e *Entry) { r.entries.Remove(e.id) }

func (r *recency) Len() int { return r.entries.Len() }

func (r *recency) full() bool { return r.entries.Len() >= r.capacity }

func (r *recency) oldest() *Entry {
	_, e, _ := r.entries.GetOldest()
	return e
}
