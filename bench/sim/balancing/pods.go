package simulate

import "time"

// server is a simulated pod: slots that serve and a queue before them.
type server struct {
	speed    float64
	slots    int
	busy     int
	queue    []int // requests, by index in the trace
	switches []time.Duration
	fault    Fault
	faultAt  time.Duration
	worked   time.Duration // slot time used in the measured time
}

// factor is the server's speed at a moment.
func (p *server) factor(at time.Duration) float64 {
	f := p.speed
	on := false
	for _, s := range p.switches {
		if s > at {
			break
		}
		on = !on
	}
	if on {
		f *= antagonistFactor
	}
	if p.slow() && at >= p.faultAt {
		f /= slowness
	}
	return f
}

func (p *server) slow() bool { return p.fault == Slow || p.fault == TurnsSlow }

func (p *server) fails(at time.Duration) bool { return p.fault == Failing && at >= p.faultAt }

// takes is how long work takes when it starts at a moment.
func (p *server) takes(at, work time.Duration) time.Duration {
	return time.Duration(float64(work) / p.factor(at))
}

// newServers returns the setting's pods, and one more that joins in a churn.
func newServers(s Setting) []*server {
	antagonists := s.antagonists()
	speeds := append(s.speeds(), 1)
	servers := make([]*server, len(speeds))
	for i := range servers {
		servers[i] = &server{speed: speeds[i], slots: s.Slots, switches: antagonists[i], faultAt: s.start()}
	}
	faulty := servers[s.faulty()]
	if faulty.fault = s.Fault; s.Fault == Slow {
		faulty.faultAt = 0
	}
	return servers
}

// present reports whether server i is in the set at a moment.
func (s Setting) present(i int, at time.Duration) bool {
	if i == s.Pods {
		return s.Fault == Churn && at >= s.joins()
	}
	return s.Fault != Churn || i != s.faulty() || at < s.leaves()
}

func (s Setting) joins() time.Duration  { return s.start() + s.Measure/3 }
func (s Setting) leaves() time.Duration { return s.start() + 2*s.Measure/3 }
