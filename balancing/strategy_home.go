package balancing

import "math"

const (
	// homeRoom is how far above its fair share of the in-flight requests a home may
	// be and still take its sessions: bounded-load hashing's 1 + epsilon (Mirrokni,
	// Thorup, Zadimoghaddam 2018).
	homeRoom = 1.75
	// homeFew is the number of requests that a home may always have: where the fair
	// share is one, as among several replicas, two are no overload.
	homeFew = 3
	// homeSlow is how much slower than usual a home may be and still take them.
	homeSlow = 1.5
)

// homeHCL sends a session to its key's home unless the home is overloaded, slow or
// failing: it is hot or cold by its in-flight requests first and its response time
// next, as in prequalHCL. Then the session goes to the pod of the least expected
// response time. Replicas agree on a home without talking, and most bindings can be
// computed again when the store is lost.
//
// Finding the home scans all pods, so up to homeScan of them the way out scans too:
// over two random choices it takes p99 in the simulator from 1.9 to 1.6 times the
// ideal when one pod is slow. Among more it looks at homeLooks random ones.
type homeHCL struct {
	scan leastResponseTime
}

const (
	homeScan  = 64
	homeLooks = 32
)

func newHomeHCL(Options) (Strategy, error) { return homeHCL{}, nil }

func (h homeHCL) Pick(key string, pods View) int {
	if key != "" {
		if home := pods.Home(key); pods.Eligible(home) && pods.homeTakes(home) {
			return home
		}
	}
	if pods.Len() > homeScan {
		if i := pods.leastWait(homeLooks); i >= 0 {
			return i
		}
	}
	return h.scan.Pick(key, pods)
}

// leastWait returns the eligible pod of the least expected wait among some random
// ones, -1 when none of them is eligible.
func (v View) leastWait(looks uint64) int {
	mean := v.meanLatency()
	best, least := -1, math.Inf(1)
	for n := range looks {
		i := below(v.Random(pickMore+n), v.Len())
		p := v.snap.pods[i]
		busy := float64(p.inFlight.Load()+1) * v.snap.inv[i]
		expected := v.faded(p, loadFloat(&p.latency), mean)
		if cost := v.waitCost(i, p, expected, busy); cost < least && v.Eligible(i) {
			best, least = i, cost
		}
	}
	return best
}

// homeTakes reports whether pod i can take sessions whose home it is.
func (v View) homeTakes(i int) bool {
	share := (v.MeanLoad() + 1/float64(v.Len())) * v.Weight(i)
	if float64(v.InFlight(i)) >= max(math.Ceil(homeRoom*share), homeFew) || v.failing(i) {
		return false
	}
	p, usual := v.snap.pods[i], v.meanLatency()
	return usual == 0 || v.latency(p, loadFloat(&p.latency), usual) <= homeSlow*usual
}
