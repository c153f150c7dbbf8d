package affinity

import "time"

// List is an order of entries for a Policy. An entry is in one list at most; the
// links are in the entries, so a list needs no memory of its own.
type List struct {
	slab *slab
	head uint32 // an entry that stands for the list: its next is the first, its prev the last
}

// Room is what a Policy is given of its shard.
type Room struct {
	slab *slab
	// Capacity is how many entries the shard will hold, or nearly so.
	Capacity int
}

// Expired reports whether a binding has been idle for too long at now.
func (r Room) Expired(e *Entry, now time.Time) bool { return r.slab.expired(e, now.UnixNano()) }

// NewList returns an empty list. It is for Strategy.NewPolicy alone, which may
// make 63.
func (r Room) NewList() *List {
	return &List{slab: r.slab, head: r.slab.newList()}
}

// PushFront puts an entry that is in no list in front.
func (l *List) PushFront(e *Entry) { l.link(e) }

// MoveToFront puts an entry of this or another list in front.
func (l *List) MoveToFront(e *Entry) {
	if e.prev != l.head {
		l.slab.unlink(e)
		l.link(e)
	}
}

// Remove takes an entry out of whatever list it is in.
func (l *List) Remove(e *Entry) { l.slab.unlink(e) }

// Back returns the last entry, nil if there is none.
func (l *List) Back() *Entry {
	if last := l.slab.at(l.head).prev; last != l.head {
		return l.slab.at(last)
	}
	return nil
}

func (l *List) link(e *Entry) {
	head := l.slab.at(l.head)
	e.prev, e.next = l.head, head.next
	l.slab.at(head.next).prev = e.slot
	head.next = e.slot
}

func (s *slab) unlink(e *Entry) {
	s.at(e.prev).next, s.at(e.next).prev = e.next, e.prev
	e.prev, e.next = e.slot, e.slot
}
