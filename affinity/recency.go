package affinity

// recency keeps entries in the order of their last use, or nearly so. It is the base
// of the strategies that look at nothing else to find the oldest.
//
// To move an entry to the front is to wait for the memory of its neighbours, which is
// as long as to find it. So an entry is left where it is as long as it is among the
// newest eighth, which most uses find it in. And those that are to be moved are
// moved together: the waits for many entries' neighbours then are one.
type recency struct {
	entries *List
	placed  uint32 // counts the entries that were put in front, or are to be
	newest  uint32

	later   []uint32 // slots of entries to be moved, which have laterFlag
	touched uint32
}

// mostLater is how many entries are moved together. Memory serves some ten reads at
// a time.
const mostLater = 32

func newRecency(room Room) recency {
	return recency{entries: room.NewList(), newest: uint32(room.Capacity / 8), later: make([]uint32, 0, mostLater)}
}

func (r *recency) Add(e *Entry) {
	r.entries.PushFront(e)
	r.place(e)
}

func (r *recency) Used(e *Entry) {
	if r.placed-e.placed < r.newest || e.seat&laterFlag != 0 {
		return
	}
	r.place(e)
	e.seat |= laterFlag
	if r.later = append(r.later, e.slot); len(r.later) == mostLater {
		r.settle()
	}
}

func (r *recency) Remove(e *Entry) { r.entries.Remove(e) }

func (r *recency) place(e *Entry) {
	r.placed++
	e.placed = r.placed
}

// settle moves what is to be moved. Entries that were removed meanwhile have lost
// their flag, their slots' new ones never had it.
func (r *recency) settle() {
	s := r.entries.slab
	for _, slot := range r.later {
		e := s.at(slot)
		r.touched += s.at(e.prev).next + s.at(e.next).prev // so that all are read at once
	}
	for _, slot := range r.later {
		if e := s.at(slot); e.seat&laterFlag != 0 {
			e.seat &^= laterFlag
			r.entries.MoveToFront(e)
		}
	}
	r.later = r.later[:0]
}

// relocated implements relocater.
func (r *recency) relocated(slots []uint32) { relocate(r.later, slots) }

// oldest returns the least recently used entry.
func (r *recency) oldest() *Entry {
	e := r.entries.Back()
	if e.seat&laterFlag != 0 {
		r.settle()
		e = r.entries.Back()
	}
	return e
}

// expired returns the least recently used entry if that has expired, ErrFull if
// not. Where services differ in their idle timeouts others may have expired too:
// the shard looks for those.
func (r *recency) expired(now int64) (*Entry, error) {
	if e := r.oldest(); r.entries.slab.expired(e, now) {
		return e, nil
	}
	return nil, ErrFull
}
