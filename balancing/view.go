package balancing

import (
	"time"

	"github.com/stateful-route/stateful-route/balancing/slowstart"
)

// View is what a strategy may see: the pods that take new sessions, by index from
// 0 to Len()-1. It is valid for one pick.
type View struct {
	snap *snapshot
	now  int64
	draw uint64
}

const (
	// errorPenalty scales the square of a pod's error rate into a factor on its
	// cost: 2 at one error in ten, 101 when all fail.
	errorPenalty = 100
	// overdue is for how many times its response time a pod may leave all that wait
	// unanswered before it is taken to be as slow as that.
	overdue = 2
)

// Len is the number of pods, at least 1 in a call of Strategy.Pick.
func (v View) Len() int { return len(v.snap.pods) }

// Now is the time of the pick, by a clock that goes on evenly when the wall clock is
// set: for ages.
func (v View) Now() time.Time { return time.Unix(0, v.now) }

// Name returns the name of pod i.
func (v View) Name(i int) string { return v.snap.pods[i].name }

// Eligible reports whether pod i has room under max_connections and max_sessions.
func (v View) Eligible(i int) bool { return v.snap.eligible(i) }

// InFlight returns the number of requests that pod i has not finished.
func (v View) InFlight(i int) int64 { return v.snap.pods[i].inFlight.Load() }

// Sessions returns the number of sessions bound to pod i.
func (v View) Sessions(i int) int64 { return v.snap.pods[i].sessions.Load() }

// Weight returns pod i's weight relative to the mean of all, which is 1; that of a
// pod in slow start is smaller.
func (v View) Weight(i int) float64 { return v.snap.weight[i] * v.rampOf(i) }

// rampOf is the share of its weight that slow start leaves pod i.
func (v View) rampOf(i int) float64 {
	joined := v.snap.joined[i]
	if joined == 0 {
		return 1
	}
	return slowstart.Ramp(float64(v.now-joined), v.snap.ramp)
}

// Load returns pod i's in-flight requests over its weight.
func (v View) Load(i int) float64 { return float64(v.InFlight(i)) / v.Weight(i) }

// MeanLoad returns the mean Load, without pods of more than three times the mean;
// it is about Len()/16 picks old at most.
func (v View) MeanLoad() float64 { return loadFloat(&v.snap.meanLoad) }

// HotLoad returns the Load above which a pod counts as hot; as old as MeanLoad.
func (v View) HotLoad() float64 { return loadFloat(&v.snap.hotLoad) }

// ResponseTime estimates how long pod i takes to answer, from its smoothed
// response times. A pod that never answered is taken for an average one. A pod
// that has not answered for a while is forgiven, else one that was slow would
// never be tried again. A pod that has answered none of its waiting requests for
// longer than usual is at least as slow as that.
func (v View) ResponseTime(i int) time.Duration {
	p := v.snap.pods[i]
	return time.Duration(v.latency(p, loadFloat(&p.latency), v.meanLatency()))
}

// ErrorRate estimates the share of pod i's responses that are failures; it fades
// with time since the last response.
func (v View) ErrorRate(i int) float64 {
	p := v.snap.pods[i]
	rate := loadFloat(&p.errors)
	if rate == 0 {
		return 0
	}
	return rate * v.snap.fade(v.now-p.learned.Load())
}

func (v View) meanLatency() float64 { return loadFloat(&v.snap.meanLatency) }

// latency corrects a smoothed response time for what the time since tells.
func (v View) latency(p *pod, smoothed, mean float64) float64 {
	return v.orUnanswered(p, v.faded(p, smoothed, mean))
}

// faded is a smoothed response time after forgiveness; for an unknown one, the mean.
func (v View) faded(p *pod, smoothed, mean float64) float64 {
	if smoothed == 0 {
		return mean
	}
	return smoothed * v.snap.fade(v.now-p.learned.Load())
}

// orUnanswered is the expected time, or for how long p has answered none of those that
// wait, where that is much longer.
func (v View) orUnanswered(p *pod, expected float64) float64 {
	if since := p.unanswered.Load(); since != 0 && expected != 0 {
		if age := float64(v.now - since); age > overdue*expected && p.waiting.Load() > 0 {
			return age
		}
	}
	return max(expected, 1)
}

// penalty is the factor on pod i's cost for its errors.
func (v View) penalty(i int) float64 {
	if v.snap.pods[i].errors.Load() == 0 {
		return 1
	}
	rate := v.ErrorRate(i)
	return 1 + errorPenalty*rate*rate
}

// Home returns the key's weighted-rendezvous home.
func (v View) Home(key string) int { return v.snap.home(key) }

// Random returns the pick's nth random number; the same n gives the same number.
func (v View) Random(n uint64) uint64 { return mix(v.draw + n*golden) }

// Sample returns up to two different eligible pods at random, -1 for one that was
// not found in a few tries. It costs the same however many pods there are.
func (v View) Sample() (a, b int) {
	const tries = 8
	a, b = -1, -1
	n := v.Len()
	for t := range uint64(tries) {
		r := v.Random(pickMore + t)
		switch i := below(r, n); {
		case i == a || !v.Eligible(i):
		case a < 0:
			a = i
		default:
			return a, i
		}
	}
	return a, b
}
