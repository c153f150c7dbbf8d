package simulate

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Setting is one simulated situation. The zero value of a field means none of it,
// but for those with a default in [Setting.withDefaults].
type Setting struct {
	// Load is the mean arriving work over what all pods can do while nothing is wrong
	// with any, 0 to 1: a pod that a fault makes slow takes its part of the capacity
	// away, and the others carry that much more.
	Load float64
	// Replicas is the number of processes that pick, each of which sees only its
	// own share of the requests.
	Replicas int
	// Mixed gives the pods different speeds, which no policy but static_weights is
	// told; else all are equal.
	Mixed bool
	// Sticky places only the first request of a session; the others follow it.
	Sticky bool
	Fault  Fault
	Seed   uint64
	// Calm leaves the antagonists out.
	Calm bool
	// Measure is how long requests are measured, after a warm-up as long.
	Measure time.Duration

	// Pods is the number of pods, each with Slots requests at a time and a queue.
	Pods, Slots int
	// Work is the mean work of a request on a pod of speed 1; works are lognormal
	// with a coefficient of variation of one half.
	Work time.Duration
}

// Fault is what goes wrong.
type Fault string

const (
	// Sound is nothing but the antagonists.
	Sound Fault = "none"
	// Slow is one pod that takes ten times as long, from the start of the warm-up.
	Slow Fault = "slow"
	// TurnsSlow is the same from the start of the measured time, when sessions are
	// bound to it already.
	TurnsSlow Fault = "turns slow"
	// Failing is one pod that answers every request with an error, at once, from the start
	// of the measured time.
	Failing Fault = "failing"
	// Churn is a pod that joins after a third of the time and another that leaves after two.
	Churn Fault = "churn"
)

const (
	slowness    = 10
	failingTime = 500 * time.Microsecond
	// An antagonist is a neighbour on a pod's machine that takes three tenths of its
	// speed now and then: a tenth of the time, for about two seconds.
	antagonistFactor = 0.7
	antagonistOn     = 2 * time.Second
	antagonistOff    = 18 * time.Second
	slowestPod       = 0.6
	fastestPod       = 1.4
)

func (s Setting) withDefaults() Setting {
	setDefault(&s.Replicas, 1)
	setDefault(&s.Pods, 20)
	setDefault(&s.Slots, 4)
	setDefault(&s.Work, 10*time.Millisecond)
	setDefault(&s.Measure, 40*time.Second)
	setDefault(&s.Fault, Sound)
	return s
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (s Setting) start() time.Duration { return s.Measure }
func (s Setting) end() time.Duration   { return 2 * s.Measure }

// speeds returns each pod's speed; their mean is 1. The pod at faulty has the
// middle speed.
func (s Setting) speeds() []float64 {
	speeds := make([]float64, s.Pods)
	for i := range speeds {
		speeds[i] = 1
		if s.Mixed && s.Pods > 1 {
			// Spread evenly, in an order that is not by speed.
			step := float64(i*7%s.Pods) / float64(s.Pods-1)
			speeds[i] = slowestPod + (fastestPod-slowestPod)*step
		}
	}
	return speeds
}

// faulty is the pod that the fault strikes; churn adds one more at the end.
func (s Setting) faulty() int { return s.Pods / 2 }

// Name is a short description for tables.
func (s Setting) Name() string {
	s = s.withDefaults()
	kind, mix := "per request", "equal"
	if s.Sticky {
		kind = "sticky"
	}
	if s.Mixed {
		mix = "mixed"
	}
	return fmt.Sprintf("%s, load %.2f, %d replica(s), %d %s pods, fault %s", kind, s.Load, s.Replicas, s.Pods, mix, s.Fault)
}

// antagonists draws when each pod is slowed, as alternating switch times.
func (s Setting) antagonists() [][]time.Duration {
	out := make([][]time.Duration, s.Pods+1)
	if s.Calm {
		return out
	}
	for i := range out {
		r := rand.New(rand.NewPCG(s.Seed, uint64(i)+1000))
		at := time.Duration(r.ExpFloat64() * float64(antagonistOff))
		for on := true; at < 2*s.end(); on = !on {
			out[i] = append(out[i], at)
			pause := antagonistOn
			if !on {
				pause = antagonistOff
			}
			at += time.Duration(r.ExpFloat64() * float64(pause))
		}
	}
	return out
}
