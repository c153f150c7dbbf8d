package weight

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
	// timedFor is how long response times are waited for before they are estimated.
	timedFor = 30 * time.Second
	// recentReports is how far back the recovery of a lowered pod is looked for, in
	// reports; where times are not measured it takes that many to be sure.
	recentReports = 32
	// leastFresh is the least number of requests that show a recovery,
	// recoverySlack how much of a change so few must be, and chance the likelihood
	// from which luck is left out of account.
	leastFresh    = 2
	recoverySlack = 12
	chance        = .02
)

// loadEstimate averages a pod's response time and error rate over its reports. It
// keeps sums of work (seconds of requests in progress) and of ends, each with
// exponential forgetting, and takes their ratio last: an interval in which nothing
// ended then says something, where an average of ratios would have to drop it.
type loadEstimate struct {
	sums     report    // since the last fold
	reported bool      // whether there was any
	at       time.Time // of the last report
	folded   time.Time // work
	counted  time.Time // ends
	changed  time.Time // last large change
	timed    time.Time // last report of response times

	fast, slow, errors forgettingRatio

	// recent are the folds of a pod whose weight was lowered, the newest last: those
	// in which it recovers are told from those before.
	recent []report
}

// report is what a loadEstimate keeps of reports. Evidence is the number of
// requests that the work was measured on: its noise is about one over its root.
type report struct{ work, ended, evidence, answered, failed float64 }

func (r *report) add(o report) {
	r.work += o.work
	r.ended += o.ended
	r.evidence += o.evidence
	r.answered += o.answered
	r.failed += o.failed
}

// forgettingRatio is the ratio of two sums that forget.
type forgettingRatio struct{ num, den, evidence float64 }

func (r *forgettingRatio) add(num, den, evidence, keep float64) {
	r.num = r.num*keep + num
	r.den = r.den*keep + den
	r.evidence = r.evidence*keep + evidence
}

// noise is the relative standard error to expect of the ratio.
func (r *forgettingRatio) noise() float64 { return 1 / math.Sqrt(max(r.evidence, 1)) }

// surelyBelow reports whether requests in progress would have been seen if each
// had taken as long as v, in seconds. A pod with a request now and then has mostly
// none in progress when it reports: that does not make it fast. The bound is two
// standard deviations of a Poisson count.
func (r *forgettingRatio) surelyBelow(v float64) bool {
	expected := r.den * v
	return r.num < expected-2*math.Sqrt(expected)
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
	answered := float64(o.Succeeded) + float64(o.Failed)
	timed := float64(o.Responses)
	if timed == 0 {
		timed = answered
	}
	switch {
	case o.ResponseTime > 0 && timed > 0:
		l.sums.work += o.ResponseTime.Seconds() * timed
		l.sums.ended += timed
		l.sums.evidence += timed
		l.timed = now
	case answered == 0 && o.InProgress == 0:
		return
	case answered > 0 && l.measured():
		// Who times them reports at other moments than who counts them: their times
		// come with the next report.
	default:
		l.sums.work += float64(o.InProgress) * o.seconds()
		l.sums.ended += answered
		l.sums.evidence += float64(o.InProgress)
	}
	l.sums.answered += answered
	l.sums.failed += float64(o.Failed)
	l.at, l.reported = now, true
}

// fold moves what was reported since the last fold into the averages. Of a pod that
// is lowered it reports whether it has recovered since; what was known of it from
// before is then forgotten.
func (l *loadEstimate) fold(now time.Time, lowered bool) (recovered bool) {
	if !l.reported {
		return false
	}
	since := func(last *time.Time) float64 {
		if last.IsZero() {
			*last = now
		}
		dt := max(now.Sub(*last).Seconds(), 0)
		*last = now
		return dt
	}
	s := l.sums
	if s.work > 0 || s.ended > 0 {
		dt := since(&l.folded)
		l.fast.add(s.work, s.ended, s.evidence, math.Exp(-dt/fastMemory.Seconds()))
		l.slow.add(s.work, s.ended, s.evidence, math.Exp(-dt/memory.Seconds()))
	}
	if s.answered > 0 {
		l.errors.add(s.failed, s.answered, s.answered, math.Exp(-since(&l.counted)/fastMemory.Seconds()))
	}
	l.sums, l.reported = report{}, false
	if recovered = lowered && l.recovers(s); recovered {
		return true
	}
	if !lowered {
		l.recent = nil
	}
	return l.compare(now) && lowered
}

// compare follows a large change, and reports whether the pod has become faster.
func (l *loadEstimate) compare(now time.Time) (faster bool) {
	limit := changeLimit(l.fast.evidence)
	f, before := l.fast.value(), l.slow.value()
	faster = before > f*limit && (l.measured() || l.fast.surelyBelow(before))
	if faster || f > before*limit {
		l.changed = now
	}
	if !l.changed.IsZero() && now.Sub(l.changed) < changeTime {
		l.slow = l.fast
	}
	return faster
}

// changeLimit is the ratio of two averages that is beyond the noise of the lesser
// evidence.
func changeLimit(evidence float64) float64 {
	return largeChange + changeSigmas/math.Sqrt(max(evidence, 1))
}

// recovers looks for a moment among the recent reports since which the pod has been
// another: of the few requests that a lowered pod gets, an average that forgets with
// time still consists of slow ones when the fast ones have long begun.
func (l *loadEstimate) recovers(s report) bool {
	if len(l.recent) == recentReports {
		l.recent = append(l.recent[:0], l.recent[1:]...)
	}
	l.recent = append(l.recent, s)
	var answered, failed float64
	for _, r := range l.recent {
		answered, failed = answered+r.answered, failed+r.failed
	}
	before := l.slow.value()
	var fresh report
	for i := len(l.recent) - 1; i >= 0; i-- {
		fresh.add(l.recent[i])
		if fresh.answersSince(failed/max(answered-fresh.answered, 1)) || fresh.fasterThan(before, l.measured()) {
			l.fast = forgettingRatio{fresh.work, fresh.ended, fresh.evidence}
			l.slow = l.fast
			l.errors = forgettingRatio{fresh.failed, fresh.answered, fresh.answered}
			l.changed, l.recent = time.Time{}, nil
			return true
		}
	}
	return false
}

// fasterThan reports whether reports speak of a pod that is much faster than it was.
// The fewer requests they are about, the more: two of a pod whose response times
// vary as much as their mean are together seven times faster once in thirty.
func (r *report) fasterThan(before float64, measured bool) bool {
	ratio := forgettingRatio{r.work, r.ended, r.evidence}
	if !measured {
		return ratio.value()*changeLimit(r.evidence) < before && ratio.surelyBelow(before)
	}
	limit := max(1+recoverySlack/r.evidence, changeLimit(r.evidence))
	return r.evidence >= leastFresh && ratio.value()*limit < before
}

// answersSince reports whether so many good answers in a row are no chance in a pod
// that fails at the rate.
func (r *report) answersSince(rate float64) bool {
	return rate > manyErrors && r.failed == 0 && r.answered >= leastFresh &&
		math.Pow(1-min(rate, .99), r.answered) < chance
}

func (l *loadEstimate) known() bool { return !l.folded.IsZero() || !l.counted.IsZero() }

// measured reports whether response times are reported, and not only how many
// requests are in progress now and then.
func (l *loadEstimate) measured() bool { return !l.timed.IsZero() && l.at.Sub(l.timed) < timedFor }

func (l *loadEstimate) responseTime() float64 { return l.slow.value() }
func (l *loadEstimate) errorRate() float64    { return min(l.errors.value(), 1) }

func (l *loadEstimate) noise() float64 { return l.slow.noise() }
