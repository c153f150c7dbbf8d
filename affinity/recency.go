package affinity

// recency keeps entries in the order of their last use, but that it leaves those
// where they are that are in the newest eighth. It is the base of the strategies
// that look at nothing else to find the oldest.
type recency struct {
	entries *List
	newest  int
}

func newRecency(room Room) recency { return recency{room.NewList(), room.Capacity / 8} }

func (r *recency) Add(e *Entry)    { r.entries.PushFront(e) }
func (r *recency) Used(e *Entry)   { r.entries.Refresh(e, r.newest) }
func (r *recency) Remove(e *Entry) { r.entries.Remove(e) }

func (r *recency) oldest() *Entry { return r.entries.Back() }

// expired returns the least recently used entry if that has expired, ErrFull if
// not. Where services differ in their idle timeouts others may have expired too:
// the shard looks for those.
func (r *recency) expired(now int64) (*Entry, error) {
	if e := r.oldest(); r.entries.slab.expired(e, now) {
		return e, nil
	}
	return nil, ErrFull
}
