package affinity

import "time"

// List is an order of entries for a Policy. An entry is in one list at most; the
// links are in the entries, so a list needs no memory of its own.
type List struct {
	slab   *slab
	head   uint32 // an entry that stands for the list: its next is the first, its prev the last
	placed uint32 // counts what was put in front
}

// Room is what a Policy is given of its shard.
type Room struct {
	slab *slab
	// Capacity is how many entries the shard will hold, or nearly so.
	Capacity int
}

// Expired reports whether a binding has been idle for too long at now.
func (r Room) Expired(e *Entry, now time.Time) bool { return r.slab.expired(e, now.UnixNano()) }

// NewList returns an empty list.
func (r Room) NewList() *List {
	head, _ := r.slab.take()
	return &List{slab: r.slab, head: head}
}

// PushFront puts an entry that is in no list in front.
func (l *List) PushFront(e *Entry) { l.link(e, l.slab.slotOf(e)) }

// Refresh moves an entry of this list to the front unless it is among the newest n
// anyway: fewer were put in front of it since. Most uses are of entries that were
// used just before, and moving one means waiting for its neighbours' memory.
func (l *List) Refresh(e *Entry, n int) {
	if l.placed-e.placed >= uint32(n) {
		l.MoveToFront(e)
	}
}

// MoveToFront puts an entry of this or another list in front.
func (l *List) MoveToFront(e *Entry) {
	slot := l.slab.slotOf(e)
	if e.prev == l.head {
		return
	}
	l.slab.unlink(e, slot)
	l.link(e, slot)
}

// Remove takes an entry out of whatever list it is in.
func (l *List) Remove(e *Entry) { l.slab.unlink(e, l.slab.slotOf(e)) }

// Back returns the last entry, nil if there is none.
func (l *List) Back() *Entry {
	if last := l.slab.at(l.head).prev; last != l.head {
		return l.slab.at(last)
	}
	return nil
}

func (l *List) link(e *Entry, slot uint32) {
	head := l.slab.at(l.head)
	e.prev, e.next = l.head, head.next
	l.slab.at(head.next).prev = slot
	head.next = slot
	l.placed++
	e.placed = l.placed
}

func (s *slab) unlink(e *Entry, slot uint32) {
	s.at(e.prev).next, s.at(e.next).prev = e.next, e.prev
	e.prev, e.next = slot, slot
}
