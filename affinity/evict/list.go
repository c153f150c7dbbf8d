package evict

// List is an order of entries for a Policy. An entry is in one list at most; the
// links are in the entries, so a list needs no memory of its own.
type List struct {
	heads *heads
	slot  uint32 // of an entry that stands for the list: its next is the first, its prev the last
}

// NewList returns an empty list.
func (r Room) NewList() *List {
	slot := headFlag | uint32(len(r.heads.lists))
	r.heads.lists = append(r.heads.lists, Entry{Slot: slot, prev: slot, next: slot})
	return &List{heads: r.heads, slot: slot}
}

// PushFront puts an entry that is in no list in front.
func (l *List) PushFront(e *Entry) {
	head := l.heads.at(l.slot)
	e.prev, e.next = l.slot, head.next
	l.heads.at(head.next).prev = e.Slot
	head.next = e.Slot
}

// MoveToFront puts an entry of this or another list in front.
func (l *List) MoveToFront(e *Entry) {
	if e.prev != l.slot {
		l.Remove(e)
		l.PushFront(e)
	}
}

// Remove takes an entry out of the list it is in, whichever that is.
func (l *List) Remove(e *Entry) {
	if e.next == 0 {
		return
	}
	l.heads.at(e.prev).next, l.heads.at(e.next).prev = e.next, e.prev
	e.prev, e.next = 0, 0
}

// Back returns the last entry, nil if there is none.
func (l *List) Back() *Entry {
	if last := l.heads.at(l.slot).prev; last != l.slot {
		return l.heads.at(last)
	}
	return nil
}
