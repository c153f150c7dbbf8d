package balancing

import "time"

// mostEvicted is how many sessions PickEvicting has a pod give up that has more than
// max_sessions, as sessions that were given up and came back are not refused.
const mostEvicted = 2

// PickEvicting chooses a pod for a session where Pick found none because of
// max_sessions: one that gives up another session for it. It asks evict, of one pod
// after the other from the key's home on, whether that was done, and counts the
// session given up as gone. Pods without room under max_connections are not asked. ok
// is false if no pod will do.
func (b *Balancer) PickEvicting(now time.Time, key string, evict func(pod string) bool) (t PickResult, ok bool) {
	s := b.snap.Load()
	if s.maxSess == 0 || len(s.pods) == 0 {
		return PickResult{}, false
	}
	nano := b.clock.Nanos(now)
	f := b.flights.Get().(*flight)
	f.shard.draw(nano)
	home := s.home(key)
	for i := range s.pods {
		if j := (home + i) % len(s.pods); s.admitEvicting(j, evict) {
			return f.result(s.pods[j], nano), true
		}
	}
	f.shard.canceled.Add(1)
	b.flights.Put(f)
	return PickResult{}, false
}

// admitEvicting is admit for a session in whose favour others are given up.
func (s *snapshot) admitEvicting(i int, evict func(pod string) bool) bool {
	p := s.pods[i]
	if n := p.inFlight.Add(1); s.maxConn != 0 && n > s.maxConn {
		p.inFlight.Add(-1)
		return false
	}
	evicted := 0
	for evicted < mostEvicted && p.sessions.Load() >= s.maxSess && evict(p.name) {
		p.sessions.Add(-1)
		evicted++
	}
	if evicted == 0 && p.sessions.Load() >= s.maxSess {
		p.inFlight.Add(-1)
		return false
	}
	return true
}
