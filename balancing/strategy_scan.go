package balancing

import "math"

// leastConnections scans for the lowest (in-flight + 1) / weight. Errors raise a
// pod's cost: a pod that fails at once is never busy, and plain least connections
// sends it a fifth of all traffic.
type leastConnections struct{}

func newLeastConnections(Options) (Strategy, error) { return leastConnections{}, nil }

func (leastConnections) Pick(_ string, pods View) int {
	s := pods.snap
	best, least := -1, math.Inf(1)
	start := below(pods.Random(pickFirst), len(s.pods))
	for i, part := range s.from(start) {
		for j, p := range part {
			j += i
			cost := float64(p.inFlight.Load()+1) * s.inv[j]
			if cost >= least {
				continue // errors and slow start only raise it
			}
			cost *= pods.penalty(j) / pods.rampOf(j)
			if cost < least && s.eligible(j) {
				best, least = j, cost
			}
		}
	}
	return best
}

// leastResponseTime scans for the lowest response time × (in-flight + 1), the
// time a new request would wait if the pod served one at a time. The response
// time alone herds: it is old news by the time every pick has acted on it.
type leastResponseTime struct{}

func newLeastResponseTime(Options) (Strategy, error) { return leastResponseTime{}, nil }

func (leastResponseTime) Pick(_ string, pods View) int {
	s := pods.snap
	mean := pods.meanLatency()
	best, least := -1, math.Inf(1)
	start := below(pods.Random(pickFirst), len(s.pods))
	for i, part := range s.from(start) {
		for j, p := range part {
			j += i
			busy := float64(p.inFlight.Load()+1) * s.inv[j]
			expected := pods.faded(p, loadFloat(&p.latency), mean)
			if expected*busy >= least {
				continue // waiting, errors and slow start only raise it
			}
			if cost := pods.waitCost(j, p, expected, busy); cost < least && s.eligible(j) {
				best, least = j, cost
			}
		}
	}
	return best
}

// waitCost is how long a new request would wait on pod i, p, over its weight, given
// the response time to expect and the requests in flight.
func (v View) waitCost(i int, p *pod, expected, busy float64) float64 {
	return v.orUnanswered(p, expected) * busy * v.penalty(i) / v.rampOf(i)
}
