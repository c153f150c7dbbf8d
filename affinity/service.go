package affinity

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// service is what the cache knows of one service. It is made by what writes (a
// claim, a move, an idle timeout, a restored binding), never by what asks: services
// come from the configuration and are few, and they are never forgotten.
type service struct {
	name string
	salt uint64        // makes equal keys of two services differ
	idle atomic.Int64  // nanoseconds; 0 means dflt, unset restoredIdle
	dflt time.Duration // Options.DefaultExpiration

	mu   sync.Mutex
	pods map[string]*pod
}

const (
	// unset is the idle timeout of a service that is only known by restored
	// bindings so far: what the present configuration says of it is yet to come.
	unset = -1
	// restoredIdle is how long such bindings may be idle until then.
	restoredIdle = 7 * 24 * time.Hour
)

// pod counts the sessions of one pod of one service over all shards. It lives
// as long as a shard has a group for it, so names of pods long gone are freed.
type pod struct {
	name     string
	sessions atomic.Int64
	groups   int // guarded by service.mu
}

func (s *service) idleNanos() int64 {
	switch d := s.idle.Load(); {
	case d > 0:
		return d
	case d == unset:
		return int64(restoredIdle)
	}
	return int64(s.dflt)
}

// journalStep is how much later than the journal knows a binding may have been
// used.
func (s *service) journalStep() int64 {
	if s.idle.Load() == unset {
		return max(int64(s.dflt)/8, 1)
	}
	return max(s.idleNanos()/8, 1)
}

// inUse makes an idle timeout that was never set the default.
func (s *service) inUse() {
	if s.idle.Load() == unset {
		s.idle.CompareAndSwap(unset, 0)
	}
}

// acquirePod returns the pod's count, for a shard that begins a group for it.
func (s *service) acquirePod(name string) *pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pods[name]
	if p == nil {
		p = &pod{name: name}
		s.pods[name] = p
	}
	p.groups++
	return p
}

// releasePod is called by a shard whose group for the pod became empty.
func (s *service) releasePod(p *pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.groups--; p.groups == 0 {
		delete(s.pods, p.name)
	}
}

func (s *service) podSessions(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pods[name]; p != nil {
		return int(p.sessions.Load())
	}
	return 0
}

func (s *service) podSessionCounts() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]int, len(s.pods))
	for name, p := range s.pods {
		if n := int(p.sessions.Load()); n > 0 {
			out[name] = n
		}
	}
	return out
}

// services finds a service by name without a lock: the map is replaced, never
// changed.
type services struct {
	dflt   time.Duration
	mu     sync.Mutex // of writers
	byName atomic.Pointer[map[string]*service]
}

func (ss *services) get(name string) *service {
	if m := ss.byName.Load(); m != nil {
		return (*m)[name]
	}
	return nil
}

func (ss *services) getOrAdd(name string) *service {
	if s := ss.get(name); s != nil {
		return s
	}
	return ss.add(name, 0)
}

// getOrRestore is getOrAdd for a service that the configuration may not name.
func (ss *services) getOrRestore(name string) *service {
	if s := ss.get(name); s != nil {
		return s
	}
	return ss.add(name, unset)
}

func (ss *services) add(name string, idle int64) *service {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if s := ss.get(name); s != nil {
		return s
	}
	next := map[string]*service{}
	if m := ss.byName.Load(); m != nil {
		next = maps.Clone(*m)
	}
	s := &service{
		name: name,
		salt: uint64(len(next)) * 0x9E3779B97F4A7C15,
		dflt: ss.dflt,
		pods: map[string]*pod{},
	}
	s.idle.Store(idle)
	next[name] = s
	ss.byName.Store(&next)
	return s
}
