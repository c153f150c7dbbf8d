package affinity

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// service is what the cache knows of one service. Services come from the
// configuration and are few; they are never forgotten.
type service struct {
	name string
	salt uint64        // makes equal keys of two services differ
	idle atomic.Int64  // nanoseconds; 0 means fallback
	dflt time.Duration // Options.DefaultExpiration

	mu   sync.Mutex
	pods map[string]*pod
}

// pod counts the sessions of one pod of one service over all shards. It lives
// as long as a shard has a group for it, so names of pods long gone are freed.
type pod struct {
	name     string
	sessions atomic.Int64
	groups   int // guarded by service.mu
}

func (s *service) idleNanos() int64 {
	if d := s.idle.Load(); d > 0 {
		return d
	}
	return int64(s.dflt)
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
	dflt time.Duration
	mu   sync.Mutex // of writers
	byID atomic.Pointer[map[string]*service]
}

func (ss *services) get(name string) *service {
	if m := ss.byID.Load(); m != nil {
		return (*m)[name]
	}
	return nil
}

func (ss *services) getOrAdd(name string) *service {
	if s := ss.get(name); s != nil {
		return s
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if s := ss.get(name); s != nil {
		return s
	}
	next := map[string]*service{}
	if m := ss.byID.Load(); m != nil {
		next = maps.Clone(*m)
	}
	s := &service{
		name: name,
		salt: uint64(len(next)) * 0x9E3779B97F4A7C15,
		dflt: ss.dflt,
		pods: map[string]*pod{},
	}
	next[name] = s
	ss.byID.Store(&next)
	return s
}
