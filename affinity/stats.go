package affinity

import "github.com/stateful-route/stateful-route/affinity/evict"

// counts are one shard's, guarded by its lock.
type counts struct {
	hits, misses     uint64
	inserts          uint64
	deleted, expired uint64
	evicted          [evict.Reasons]uint64
	rebinds, moves   uint64
	refused, broken  uint64
	ghostRestores    uint64
}

// Stats are counts since the table was made. They are exact: at any moment,
// and while other calls run, Inserts = Size + Evicted + Expirations + Deletes.
type Stats struct {
	// Hits and Misses count lookups; Hits those of CountHits, too.
	Hits, Misses uint64
	// HitRate is Hits among lookups; 0 before the first one.
	HitRate float64
	// Size is the number of bindings now, expired ones not swept yet included;
	// Capacity is how many there may be.
	Size, Capacity int
	// InUse is the number of sessions that have requests in flight, bound or not.
	InUse int
	// Inserts counts new bindings, restored ones included.
	Inserts uint64
	// Deletes counts bindings forgotten by Delete, End, Flush and DropPod.
	Deletes uint64
	// Expirations counts bindings that were idle for too long.
	Expirations uint64
	// Evicted counts live bindings dropped for another; Evictions splits it by
	// reason.
	Evicted   uint64
	Evictions map[string]uint64
	// Rebinds and Moves count bindings that got another pod.
	Rebinds, Moves uint64
	// Refused counts claims and moves answered with ErrFull, and bindings that were not
	// restored for want of room.
	Refused uint64
	// GhostRestores counts sessions that had been evicted, came back and were restored
	// from their ghosts, which is an insert. Where the strategy refuses them a place they
	// are answered from the ghost alone, and each look-up is a hit.
	GhostRestores uint64
	// Broken counts sessions that came back after they had been evicted or
	// refused, and of whose pod nothing was known. It misses those that are
	// forgotten altogether: the memory of the evicted is bounded.
	Broken uint64
	// Strategy is the name of the strategy, Mode what the adaptive one does
	// now, Switches how often it changed.
	Strategy, Mode string
	Switches       uint64
}

// CountHits counts look-ups that found their session without the table, see Mirror.
func (t *Table) CountHits(n uint64) {
	sh := &t.shards[0]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.counts.hits += n
}

// Stats returns the counts. Each shard is locked for a moment, one by one.
func (t *Table) Stats() Stats {
	st := Stats{Capacity: t.options.Capacity, Strategy: t.options.Strategy, Evictions: map[string]uint64{}}
	for r := range evict.Reasons {
		st.Evictions[r.String()] = 0
	}
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		n, size, inUse := sh.counts, sh.slab.len(), len(sh.inUse)
		sh.mu.Unlock()
		st.add(n, size)
		st.InUse += inUse
	}
	if lookups := st.Hits + st.Misses; lookups > 0 {
		st.HitRate = float64(st.Hits) / float64(lookups)
	}
	st.Mode, st.Switches = t.tuner.state()
	return st
}

// EvictedForRoom is Evicted without what a larger table would not have kept.
func (st *Stats) EvictedForRoom() uint64 {
	return st.Evicted - st.Evictions[evict.ReasonSessions.String()]
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
	st.GhostRestores += n.ghostRestores
	for r, v := range n.evicted {
		st.Evicted += v
		st.Evictions[evict.Reason(r).String()] += v
	}
}

// PodSessions is the number of sessions bound to a pod. It costs the same however
// many sessions and pods there are, and waits for no shard.
func (t *Table) PodSessions(service, pod string) int {
	s := t.services.get(service)
	if s == nil {
		return 0
	}
	p := s.pod(pod)
	if p == nil {
		return 0
	}
	return int(p.sessions.Load())
}

// PodSessionCounts is the number of sessions of each pod that has any, as
// PodSessions. It costs as much as the service has such pods.
func (t *Table) PodSessionCounts(service string) map[string]int {
	counts := map[string]int{}
	s := t.services.get(service)
	if s == nil {
		return counts
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, p := range s.pods {
		if n := p.sessions.Load(); n > 0 {
			counts[name] = int(n)
		}
	}
	return counts
}
