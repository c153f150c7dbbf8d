package evict

import statefulroute "github.com/stateful-route/stateful-route"

// recency keeps entries in the order of their last use, or nearly so. It is the base
// of the strategies that look at nothing else to find the oldest.
//
// To move an entry to the front is to wait for the memory of its neighbours, which is
// as long as to find it. So an entry is left where it is as long as it is among the
// newest eighth, which most uses find it in. And those that are to be moved are
// moved together: the waits for many entries' neighbours then are one.
type recency struct {
	room    Room
	entries *List
	places  uint32 // counts the entries that were put in front, or are to be, modulo orders
	newest  uint32

	pending []uint32 // slots of entries to be moved, which have pendingFlag
	touched uint32
}

// mostPending is how many entries are moved together. Memory serves some ten reads at
// a time.
const mostPending = 32

func newRecency(room Room) recency {
	return recency{room: room, entries: room.NewList(), newest: uint32(room.Capacity / 8), pending: make([]uint32, 0, mostPending)}
}

func (r *recency) Add(e *Entry) {
	r.entries.PushFront(e)
	r.place(e)
}

func (r *recency) Used(e *Entry) {
	if (r.places-e.place())%orders < r.newest || e.order&pendingFlag != 0 {
		return
	}
	r.place(e)
	e.order |= pendingFlag
	if r.pending = append(r.pending, e.Slot); len(r.pending) == mostPending {
		r.settle()
	}
}

// Renewed and Passed move an entry as a use does.
func (r *recency) Renewed(e *Entry) { r.Used(e) }
func (r *recency) Passed(e *Entry)  { r.Used(e) }

func (r *recency) Remove(e *Entry) { r.entries.Remove(e) }

func (r *recency) place(e *Entry) {
	r.places = (r.places + 1) % orders
	e.setPlace(r.places)
}

// settle moves what is to be moved. Entries that were removed meanwhile have lost
// their flag, and the new ones in their slots never had it.
func (r *recency) settle() {
	at := r.entries.heads.at
	for _, slot := range r.pending {
		if e := at(slot); e.next != 0 {
			r.touched += at(e.prev).next + at(e.next).prev // so that all are read at once
		}
	}
	for _, slot := range r.pending {
		if e := at(slot); e.order&pendingFlag != 0 {
			e.order &^= pendingFlag
			r.entries.MoveToFront(e)
		}
	}
	r.pending = r.pending[:0]
}

// relocated implements relocater. An entry that was removed has no new slot, but 0.
func (r *recency) relocated(slots []uint32) {
	for i, slot := range r.pending {
		r.pending[i] = slots[slot]
	}
}

// oldest returns the least recently used entry.
func (r *recency) oldest() *Entry {
	e := r.entries.Back()
	if e.order&pendingFlag != 0 {
		r.settle()
		e = r.entries.Back()
	}
	return e
}

// expired returns the least recently used entry if that has expired, ErrFull if
// not. Where services differ in their idle timeouts others may have expired too:
// the shard looks for those.
func (r *recency) expired(now int64) (*Entry, error) {
	if e := r.oldest(); r.room.Expired(e, now) {
		return e, nil
	}
	return nil, statefulroute.ErrFull
}
