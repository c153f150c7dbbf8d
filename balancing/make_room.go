package balancing

import "time"

// mostGiven is how many sessions PickInstead has a pod give up that has more than
// max_sessions, as sessions that were given up and came back are not refused.
const mostGiven = 2

// PickInstead chooses a pod for a session where Pick found none because of
// max_sessions: one that gives up another session for it. It asks giveUp, of one pod
// after the other from the key's home on, whether that was done, and counts the
// session given up as gone. Pods without room under max_connections are not asked. ok
// is false if no pod will do.
func (b *Balancer) PickInstead(now time.Time, key string, giveUp func(pod string) bool) (t Ticket, ok bool) {
	s := b.snap.Load()
	if s.maxSess == 0 || len(s.pods) == 0 {
		return Ticket{}, false
	}
	nano := b.clock.Nanos(now)
	f := b.flights.Get().(*flight)
	f.shard.draw(nano)
	home := s.home(key)
	for i := range s.pods {
		if j := (home + i) % len(s.pods); s.admitInstead(j, giveUp) {
			return f.ticket(s.pods[j], nano), true
		}
	}
	f.shard.returned.Add(1)
	b.flights.Put(f)
	return Ticket{}, false
}

// admitInstead is admit for a session in whose favour others are given up.
func (s *snapshot) admitInstead(i int, giveUp func(pod string) bool) bool {
	p := s.pods[i]
	if n := p.inFlight.Add(1); s.maxConn != 0 && n > s.maxConn {
		p.inFlight.Add(-1)
		return false
	}
	given := 0
	for given < mostGiven && p.sessions.Load() >= s.maxSess && giveUp(p.name) {
		p.sessions.Add(-1)
		given++
	}
	if given == 0 && p.sessions.Load() >= s.maxSess {
		p.inFlight.Add(-1)
		return false
	}
	return true
}
