package evict

// ttlStrategy drops nothing but expired entries and refuses new ones when it
// is full: who is bound stays bound, at the cost of who is not.
type ttlStrategy struct{}

func (ttlStrategy) NewPolicy(room Room) Policy { return &ttl{newRecency(room)} }

type ttl struct{ recency }

func (t *ttl) Victim(now int64) (*Entry, Reason, error) {
	e, err := t.expired(now)
	return e, 0, err
}
