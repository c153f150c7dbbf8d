package weight

import (
	"math"
	"slices"
	"time"
)

const (
	// bad is the factor below which a pod counts as bad for the panic guard.
	bad = 0.5
	// manyErrors is the error rate from which a pod's response time is not taken
	// for speed: failing fast is not being fast.
	manyErrors = 0.05
	// farSlower is the factor below which a pod is so much slower than its peers that
	// its share is cut faster than its speed: below it the factor falls with
	// farSlowerPower. In proportion to its speed one pod of three that is ten times
	// slower would get 5 % of the requests, and the p99 of all would be its own;
	// and Envoy divides weights by the requests in flight, of which the slow pod,
	// being avoided, has few. With the sixth power a pod ten times slower is at
	// the floor whatever the noise of the few requests it is measured on.
	farSlower      = 0.5
	farSlowerPower = 6
	// negligible is a response time, in seconds, below which pods are not told
	// apart: what differs down there is the network and the noise of the machine.
	negligible = 0.002
	// errorPower makes a pod's factor the third power of its success rate, so that
	// one that fails half the time gets an eighth.
	errorPower = 3
)

// targets returns the factor each pod should have, in the order of w.order. A pod
// of which nothing is known gets the mean of the known.
func (w *Controller) targets(now time.Time) []float64 {
	usual := w.usualTime()
	targets := make([]float64, len(w.order))
	var sum, known float64
	for i, name := range w.order {
		if p := w.pods[name]; p.load.known() {
			targets[i] = w.factorOf(now, p, usual)
			sum += targets[i]
			known++
		}
	}
	mean := 1.0
	if known > 0 {
		mean = sum / known
	}
	for i, name := range w.order {
		if !w.pods[name].load.known() {
			targets[i] = mean
		}
		targets[i] *= w.pods[name].penalty
	}
	w.guard(targets)
	return targets
}

// guard bounds the targets, and when most look bad lowers none.
func (w *Controller) guard(targets []float64) {
	badOnes := 0
	for _, f := range targets {
		if f < bad {
			badOnes++
		}
	}
	for i, f := range targets {
		floor := w.pods[w.order[i]].floor
		if 2*badOnes > len(targets) {
			floor = 1
		}
		targets[i] = min(max(f, floor), maxFactor)
	}
}

// factorOf is the factor that a pod's load gives it beside peers that usually take
// the given time. It fades to 1 while no report comes.
func (w *Controller) factorOf(now time.Time, p *podWeight, usual float64) float64 {
	errors := p.load.errorRate()
	took := p.load.responseTime()
	if errors > manyErrors {
		took = max(took, usual)
	}
	f := 1.0
	if took > 0 && usual > 0 {
		f = max(usual, negligible) / max(took, negligible)
	}
	if f < farSlower {
		f = farSlower * math.Pow(f/farSlower, farSlowerPower)
	}
	f *= math.Pow(1-errors, errorPower)
	f = min(max(f, minFactor/2), maxFactor)
	return math.Pow(f, math.Exp2(-max(float64(now.Sub(p.load.at)), 0)/float64(4*memory)))
}

// usualTime is the median response time of the pods that answer; 0 when none does.
// The median, unlike the mean, does not follow one slow pod.
func (w *Controller) usualTime() float64 {
	var times []float64
	for _, name := range w.order {
		if t := w.pods[name].load.responseTime(); t > 0 {
			times = append(times, t)
		}
	}
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	n := len(times)
	return (times[(n-1)/2] + times[n/2]) / 2
}
