package affinity

import (
	"maps"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// service is what the table knows of one service. It is made by what writes (a claim,
// a move, a hold, an idle timeout, a restored binding), never by what asks: services
// come from the configuration and are few, and they are never forgotten.
type service struct {
	name   string
	salt   uint64        // makes equal keys of two services differ
	idle   atomic.Int64  // nanoseconds; 0 means dflt
	dflt   time.Duration // Options.DefaultExpiration
	steps  int64         // Options.JournalSteps
	totals *counters

	mu   sync.Mutex
	pods map[string]*pod
}

// pod is one pod of one service as all shards know it. It lives as long as a shard
// has a group for it, so names of pods long gone are freed.
type pod struct {
	name     string
	numbered atomic.Pointer[numberedPod] // once a session of it was evicted
	groups   int                         // guarded by service.mu
	*counters
}

// counters count a pod's or service's entries in all shards. They have a cache line of
// their own: every new session writes there, and every request reads what is beside.
type counters struct {
	sessions atomic.Int64  // of a pod
	once     atomic.Int64  // with onceFlag
	turn     atomic.Uint32 // where GiveUp begins to look
	_        [40]byte
}

// count counts an entry that joins or leaves the group.
func (g *group) count(e *entry, n int64) {
	g.pod.sessions.Add(n)
	if e.seat&onceFlag != 0 {
		g.countOnce(n)
	}
}

func (g *group) countOnce(n int64) {
	g.pod.once.Add(n)
	g.service.totals.once.Add(n)
}

func (s *service) idleNanos() int64 {
	if d := s.idle.Load(); d > 0 {
		return d
	}
	return int64(s.dflt)
}

// journalShift is the power of two, in nanoseconds, of the time in which the
// journal hears of one use, see Options.JournalSteps. A shift, since a division would cost
// more than finding the entry's cell.
func (s *service) journalShift() int {
	return bits.Len64(uint64(max(2*s.idleNanos()/s.steps, 1))) - 1
}

// acquirePod returns the pod, for a shard that begins a group for it.
func (s *service) acquirePod(name string) *pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pods[name]
	if p == nil {
		p = &pod{name: strings.Clone(name), counters: &counters{}} // it may be a piece of something larger
		s.pods[p.name] = p
	}
	p.groups++
	return p
}

// pod returns the pod of that name, nil if it has no sessions.
func (s *service) pod(name string) *pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pods[name]
}

// podNames are those of the pods that have sessions.
func (s *service) podNames() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.pods))
}

// releasePod is called by a shard whose group for the pod became empty.
func (s *service) releasePod(p *pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.groups--; p.groups == 0 {
		delete(s.pods, p.name)
	}
}

// services finds a service by name without a lock: what is known is replaced, never
// changed.
type services struct {
	dflt  time.Duration
	steps int64
	mu    sync.Mutex // of writers
	known atomic.Pointer[knownServices]
}

type knownServices struct {
	few    []*service // the first ones, to be compared: cheaper than a hash
	byName map[string]*service
}

// fewServices are found by comparison.
const fewServices = 4

func (ss *services) get(name string) *service {
	k := ss.known.Load()
	if k == nil {
		return nil
	}
	for _, s := range k.few {
		if s.name == name {
			return s
		}
	}
	return k.byName[name]
}

// shortestIdle is the shortest idle timeout, in nanoseconds.
func (ss *services) shortestIdle() int64 {
	shortest := int64(ss.dflt)
	if k := ss.known.Load(); k != nil {
		for _, s := range k.byName {
			shortest = min(shortest, s.idleNanos())
		}
	}
	return shortest
}

func (ss *services) getOrAdd(name string) *service {
	if s := ss.get(name); s != nil {
		return s
	}
	return ss.add(name)
}

func (ss *services) add(name string) *service {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if s := ss.get(name); s != nil {
		return s
	}
	next := &knownServices{byName: map[string]*service{}}
	if k := ss.known.Load(); k != nil {
		next.few, next.byName = k.few, maps.Clone(k.byName)
	}
	s := &service{
		name:   strings.Clone(name),
		salt:   uint64(len(next.byName)) * 0x9E3779B97F4A7C15,
		dflt:   ss.dflt,
		steps:  ss.steps,
		pods:   map[string]*pod{},
		totals: &counters{},
	}
	next.byName[s.name] = s
	if len(next.few) < fewServices {
		next.few = append(slices.Clone(next.few), s)
	}
	ss.known.Store(next)
	return s
}
