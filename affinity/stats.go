package affinity

// Reason says why a live binding was evicted.
type Reason uint8

const (
	// ReasonCapacity is a session that came back before, dropped for a new one.
	ReasonCapacity Reason = iota
	// ReasonProbation is an id that was used only once, dropped for a new one.
	ReasonProbation
	// ReasonCollision is a key with the same 64-bit hash as a new one.
	ReasonCollision
	reasons
)

// String returns the reason as a metric label value.
func (r Reason) String() string {
	return [...]string{"capacity", "probation", "collision", "unknown"}[min(r, reasons)]
}

// counts are one shard's, guarded by its lock.
type counts struct {
	hits, misses     uint64
	inserts          uint64
	deleted, expired uint64
	evicted          [reasons]uint64
	rebinds, moves   uint64
	refused, broken  uint64
}

// Stats are counts since the table was made. They are exact: at any moment,
// and while other calls run, Inserts = Size + Evicted + Expirations + Deletes.
type Stats struct {
	// Hits and Misses count lookups.
	Hits, Misses uint64
	// HitRate is Hits among lookups; 0 before the first one.
	HitRate float64
	// Size is the number of bindings now, expired ones not swept yet included;
	// Capacity is how many there may be.
	Size, Capacity int
	// Inserts counts new bindings, restored ones included.
	Inserts uint64
	// Deletes counts bindings forgotten by Delete, Flush and DropPod.
	Deletes uint64
	// Expirations counts bindings that were idle for too long.
	Expirations uint64
	// Evicted counts live bindings dropped for another; Evictions splits it by
	// reason.
	Evicted   uint64
	Evictions map[string]uint64
	// Rebinds and Moves count bindings that got another pod.
	Rebinds, Moves uint64
	// Refused counts claims answered with ErrFull.
	Refused uint64
	// Broken counts sessions that came back after they had been evicted or
	// refused. It may miss some: the memory of them is bounded.
	Broken uint64
	// Strategy is the name of the strategy, Mode what the adaptive one does
	// now, Switches how often it changed.
	Strategy, Mode string
	Switches       uint64
}

// Stats returns the counts. Each shard is locked for a moment, one by one.
func (c *Cache) Stats() Stats {
	st := Stats{Capacity: c.options.Capacity, Strategy: c.options.Strategy, Evictions: map[string]uint64{}}
	for r := range reasons {
		st.Evictions[r.String()] = 0
	}
	for i := range c.shards {
		sh := &c.shards[i]
		sh.mu.Lock()
		n, size := sh.counts, sh.index.n
		sh.mu.Unlock()
		st.add(n, size)
	}
	if lookups := st.Hits + st.Misses; lookups > 0 {
		st.HitRate = float64(st.Hits) / float64(lookups)
	}
	st.Mode, st.Switches = c.tuner.state()
	return st
}

func (st *Stats) add(n counts, size int) {
	st.Hits += n.hits
	st.Misses += n.misses
	st.Size += size
	st.Inserts += n.inserts
	st.Deletes += n.deleted
	st.Expirations += n.expired
	st.Rebinds += n.rebinds
	st.Moves += n.moves
	st.Refused += n.refused
	st.Broken += n.broken
	for r, v := range n.evicted {
		st.Evicted += v
		st.Evictions[Reason(r).String()] += v
	}
}

// PodSessions is the number of sessions bound to a pod.
func (c *Cache) PodSessions(service, pod string) int {
	if s := c.services.get(service); s != nil {
		return s.podSessions(pod)
	}
	return 0
}

// PodSessionCounts is the number of sessions of each pod that has any.
func (c *Cache) PodSessionCounts(service string) map[string]int {
	if s := c.services.get(service); s != nil {
		return s.podSessionCounts()
	}
	return map[string]int{}
}
