package affinity

// ttlStrategy drops nothing but expired entries and refuses new ones when it
// is full: who is bound stays bound, at the cost of who is not.
type ttlStrategy struct{}

func (ttlStrategy) NewPolicy(capacity int) Policy {
	return &ttl{recency: newRecency(capacity)}
}

type ttl struct{ recency }

func (t *ttl) Add(e *Entry) (victim *Entry, why Reason, err error) {
	if victim, err = t.expiredOrFull(e.lastSeen); err != nil {
		return nil, 0, err
	}
	t.entries.Add(e.id, e)
	return victim, 0, nil
}

// expiredOrFull makes room by taking out the least recently used entry, if that
// has expired; it is ErrFull if not. Where services differ in their idle
// timeouts others may have expired too: the shard looks for those.
func (r *recency) expiredOrFull(now int64) (expired *Entry, err error) {
	if !r.full() {
		return nil, nil
	}
	oldest := r.oldest()
	if !oldest.expiredAt(now) {
		return nil, ErrFull
	}
	r.Remove(oldest)
	return oldest, nil
}
