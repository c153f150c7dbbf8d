package simulate

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Trace is what the clients do, in order of time.
type Trace []Request

// Request is one arrival.
type Request struct {
	At      time.Duration
	Session int
	// Work is how long it takes on a pod of speed 1.
	Work time.Duration
	// Replica is the process that gets it.
	Replica int
}

const (
	// workSigma makes lognormal works vary by half their mean.
	workSigma = 0.472
	// Session lengths are Pareto with a mean of about 11 requests, cut at
	// sessionMost.
	paretoShape  = 1.5
	sessionLeast = 4
	sessionMost  = 400
	// The pace of sessions is Zipf: the rate of a session of rank k is 1/k of the
	// fastest's, whose pause between requests is leastPause on average.
	paceRanks  = 100
	leastPause = 10 * time.Millisecond
)

// NewTrace draws the requests of the setting's whole time. Sessions start long
// before time zero, so that there are as many at the start as later.
func NewTrace(s Setting) Trace {
	s = s.withDefaults()
	r := rand.New(rand.NewPCG(s.Seed, 1))
	rate := s.Load * float64(s.Pods*s.Slots) / s.Work.Seconds() // requests a second
	var trace Trace
	if s.Sticky {
		trace = sessions(s, r, rate)
	} else {
		for at := 0.0; at < s.end().Seconds(); at += r.ExpFloat64() / rate {
			trace = append(trace, Request{At: seconds(at), Session: len(trace)})
		}
	}
	for i := range trace {
		trace[i].Work = time.Duration(math.Exp(workSigma*r.NormFloat64()-workSigma*workSigma/2) * float64(s.Work))
		trace[i].Replica = r.IntN(s.Replicas)
	}
	return trace
}

func sessions(s Setting, r *rand.Rand, rate float64) Trace {
	const before = 120.0 // seconds in which nearly every session ends
	mean := meanLength(rand.New(rand.NewPCG(s.Seed, 2)))
	var trace Trace
	id := 0
	for start := -before; start < s.end().Seconds(); start += r.ExpFloat64() * mean / rate {
		pause := leastPause.Seconds() * float64(1+r.IntN(paceRanks))
		at := start
		for range length(r) {
			if at >= 0 && at < s.end().Seconds() {
				trace = append(trace, Request{At: seconds(at), Session: id})
			}
			at += r.ExpFloat64() * pause
		}
		id++
	}
	slices.SortStableFunc(trace, func(a, b Request) int { return int(a.At - b.At) })
	return trace
}

// length draws a session's number of requests.
func length(r *rand.Rand) int {
	n := sessionLeast * math.Pow(1-r.Float64(), -1/paretoShape)
	return int(min(n, sessionMost))
}

func meanLength(r *rand.Rand) float64 {
	const draws = 200_000
	sum := 0
	for range draws {
		sum += length(r)
	}
	return float64(sum) / draws
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
