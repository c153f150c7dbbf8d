package weight

import (
	"math"
	"time"
)

const (
	// highestFloor bounds the floor, so that a slow pod of a service with
	// few requests does not keep its whole share for being asked seldom.
	highestFloor = 0.1
	// rateMemory is the time over which the service's rate is averaged.
	rateMemory = 5 * time.Second
	// progressGain is the weight of the newest number in progress in its average.
	progressGain = 0.3
	// shareMemory is the number of expected requests over which a pod's share is
	// compared with the expected one, and sharePrior the number for which it is
	// presumed to be that.
	shareMemory = 20
	sharePrior  = 2
	// settling is how many reports after a change of a pod's factor are not compared:
	// the requests in progress follow it with a delay.
	settling = 2
	// floorSigmas is by how much of its noise the floor must be off to be
	// changed: a weight does not follow the noise of one request a second.
	floorSigmas = 3
)

// trafficRate is a service's requests a second.
type trafficRate struct {
	num, den float64 // requests and seconds, with exponential forgetting
	at       time.Time
}

func (r *trafficRate) add(now time.Time, requests float64) {
	if r.at.IsZero() {
		r.at = now.Add(-time.Second)
	}
	dt := max(now.Sub(r.at).Seconds(), 0)
	keep := math.Exp(-dt / rateMemory.Seconds())
	r.num, r.den = r.num*keep+requests, r.den*keep+dt
	r.at = now
}

func (r *trafficRate) value() float64 {
	if r.den <= 0 {
		return 0
	}
	return r.num / r.den
}

// trafficShare compares the requests that a pod got with those that its weight
// should have brought it.
type trafficShare struct {
	requests      float64 // since the last learnShares
	progress      float64 // requests in progress, averaged
	newest        float64 // in progress as reported last
	got, expected float64
}

func newTrafficShare() trafficShare { return trafficShare{got: sharePrior, expected: sharePrior} }

func (t *trafficShare) add(o Observation) {
	t.requests += max(float64(o.Issued), float64(o.Succeeded)+float64(o.Failed))
	t.newest = float64(o.InProgress)
}

func (t *trafficShare) learn(expected float64) {
	t.got += t.requests
	t.expected += expected
	if t.expected > shareMemory {
		t.got *= shareMemory / t.expected
		t.expected = shareMemory
	}
}

// ratio is how many times the expected number of requests the pod gets: those of
// bound sessions come whatever its weight is.
func (t *trafficShare) ratio() float64 {
	return (t.got + sharePrior) / (t.expected + sharePrior)
}

// noise is the relative standard error of ratio.
func (t *trafficShare) noise() float64 { return 1 / math.Sqrt(t.got+sharePrior) }

// demand is what LEAST_REQUEST makes of a weight: it divides it by the requests in
// progress and one.
func (w *Controller) demand(now time.Time, p *podWeight) float64 {
	if !p.fact.State.TakesNew() {
		return 0
	}
	return p.configured * p.factor * w.ramp(now, p) / (p.share.progress + 1)
}

// learnShares compares what the pods got since the last call with what their
// weights promised, and sets the floor of each.
func (w *Controller) learnShares(now time.Time) {
	var requests, demands float64
	for _, name := range w.order {
		p := w.pods[name]
		requests += p.share.requests
		p.share.progress += progressGain * (p.share.newest - p.share.progress)
		demands += w.demand(now, p)
	}
	if requests == 0 || demands == 0 {
		return // who is asked nothing stays as it is
	}
	w.rate.add(now, requests)
	for _, name := range w.order {
		p := w.pods[name]
		demand := w.demand(now, p)
		if p.rested++; p.rested > settling {
			p.share.learn(requests * demand / demands)
		}
		p.share.requests = 0
		w.setFloor(p, demands-demand)
	}
}

// setFloor sets the factor that would leave p minRate requests a second beside peers
// that demand so much.
func (w *Controller) setFloor(p *podWeight, peers float64) {
	share := minRate / (w.rate.value() * p.share.ratio())
	least := highestFloor
	if share < 1 {
		inProgress := minRate * p.load.responseTime()
		least = min(share/(1-share)*peers*(inProgress+1)/p.configured, highestFloor)
	}
	least = max(least, minFactor)
	off := math.Abs(math.Log(least / p.floor))
	if p.factor > 1.01*p.floor || off > floorSigmas*p.share.noise() {
		p.floor = least
	}
}
