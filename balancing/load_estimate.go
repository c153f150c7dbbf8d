package balancing

import (
	"math"
	"time"
)

const (
	// fastMemory is the time over which a change is noticed.
	fastMemory = 3 * time.Second
	// largeChange is the ratio of the fast to the slow average from which the slow
	// one is thrown away, worth more than a steady weight; with little evidence it
	// is larger by changeSigmas of the noise.
	largeChange  = 1.5
	changeSigmas = 3
	// changeTime is how long the slow average then is the fast one: until the fast
	// one has forgotten what was before.
	changeTime = 4 * fastMemory
)

// loadEstimate averages a pod's response time and error rate over its reports. It
// keeps sums of work (seconds of requests in progress) and of ends, each with
// exponential forgetting, and takes their ratio last: an interval in which nothing
// ended then says something, where an average of ratios would have to drop it.
type loadEstimate struct {
	sums     report    // since the last fold
	reported bool      // whether there was any
	at       time.Time // of the last report
	folded   time.Time
	changed  time.Time // last large change

	fast, slow, errors forgettingRatio
}

// report is what a loadEstimate keeps of reports. Evidence is the number of
// requests that the work was measured on: its noise is about one over its root.
type report struct{ work, ended, failed, evidence float64 }

// forgettingRatio is the ratio of two sums that forget.
type forgettingRatio struct{ num, den, evidence float64 }

func (r *forgettingRatio) add(num, den, evidence, keep float64) {
	r.num = r.num*keep + num
	r.den = r.den*keep + den
	r.evidence = r.evidence*keep + evidence
}

// noise is the relative standard error to expect of the ratio.
func (r *forgettingRatio) noise() float64 { return 1 / math.Sqrt(max(r.evidence, 1)) }

// measured reports whether most ends were timed, and the ratio is not read off
// from how many requests were in progress now and then.
func (r *forgettingRatio) measured() bool { return 2*r.evidence >= r.den && r.evidence > 0 }

// surelyBelow reports whether requests in progress would have been seen if each
// had taken as long as v, in seconds. A pod with a request now and then has mostly
// none in progress when it reports: that does not make it fast. The bound is two
// standard deviations of a Poisson count.
func (r *forgettingRatio) surelyBelow(v float64) bool {
	expected := r.den * v
	return r.measured() || r.num < expected-2*math.Sqrt(expected)
}

// value is the ratio; with nothing to divide by, one event is presumed about to
// come, so that a pod that answers nothing looks slow and not unknown.
func (r *forgettingRatio) value() float64 {
	if r.num == 0 {
		return 0
	}
	return r.num / max(r.den, 1)
}

// add takes one report.
func (l *loadEstimate) add(now time.Time, o Observation) {
	ended := float64(o.Succeeded) + float64(o.Failed)
	if ended == 0 && o.InProgress == 0 {
		return
	}
	interval := o.Interval
	if interval <= 0 {
		interval = time.Second
	}
	if o.ResponseTime > 0 {
		l.sums.work += o.ResponseTime.Seconds() * ended
		l.sums.evidence += ended
	} else {
		l.sums.work += float64(o.InProgress) * interval.Seconds()
		l.sums.evidence += float64(o.InProgress)
	}
	l.sums.ended += ended
	l.sums.failed += float64(o.Failed)
	l.at, l.reported = now, true
}

// fold moves what was reported since the last fold into the averages.
func (l *loadEstimate) fold(now time.Time, memory time.Duration) {
	if !l.reported {
		return
	}
	if l.folded.IsZero() {
		l.folded = now
	}
	dt := max(now.Sub(l.folded).Seconds(), 0)
	keepFast := math.Exp(-dt / fastMemory.Seconds())
	l.fast.add(l.sums.work, l.sums.ended, l.sums.evidence, keepFast)
	l.slow.add(l.sums.work, l.sums.ended, l.sums.evidence, math.Exp(-dt/memory.Seconds()))
	l.errors.add(l.sums.failed, l.sums.ended, l.sums.ended, keepFast)
	limit := largeChange + changeSigmas*l.fast.noise()
	if f, s := l.fast.value(), l.slow.value(); f > s*limit || s > f*limit && l.fast.surelyBelow(s) {
		l.changed = now
	}
	if !l.changed.IsZero() && now.Sub(l.changed) < changeTime {
		l.slow = l.fast
	}
	l.sums, l.reported, l.folded = report{}, false, now
}

func (l *loadEstimate) known() bool           { return !l.folded.IsZero() }
func (l *loadEstimate) responseTime() float64 { return l.slow.value() }
func (l *loadEstimate) errorRate() float64    { return min(l.errors.value(), 1) }

func (l *loadEstimate) noise() float64 { return l.slow.noise() }
