package affinity

import "github.com/hashicorp/golang-lru/v2/simplelru"

// lruStrategy drops the least recently used entry.
type lruStrategy struct{}

func (lruStrategy) NewPolicy(capacity int) Policy {
	entries, err := simplelru.NewLRU[uint64, *Entry](capacity, nil)
	if err != nil {
		panic(err) // a capacity below 1, which Options.validate refuses
	}
	return &lru{entries: entries, capacity: capacity}
}

type lru struct {
	entries  *simplelru.LRU[uint64, *Entry]
	capacity int
}

func (l *lru) Get(id uint64) *Entry {
	e, _ := l.entries.Get(id)
	return e
}

func (l *lru) Peek(id uint64) *Entry {
	e, _ := l.entries.Peek(id)
	return e
}

func (l *lru) Add(e *Entry) (victim *Entry, why Reason, err error) {
	if l.entries.Len() >= l.capacity {
		_, victim, _ = l.entries.RemoveOldest()
	}
	l.entries.Add(e.id, e)
	return victim, ReasonCapacity, nil
}

func (l *lru) Remove(e *Entry) { l.entries.Remove(e.id) }

func (l *lru) Len() int { return l.entries.Len() }
