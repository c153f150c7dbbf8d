package insight

import (
	"math"
	"time"
)

// A verdict is what one rule says of one scope at one moment.
type verdict struct {
	broken bool
	value  float64
	window Window
	since  time.Time // when the rule was first found broken
}

const (
	// patience is the number of samples looked back at when the newest alone
	// hold too little to judge.
	patience = 12
	// minRequests is how many requests a mean or a share is taken over at least.
	minRequests = 3
	// minLookups is the same for the cache's hit rate: a service that was hardly
	// used has hardly a hit rate.
	minLookups = 50
	// falseAlarm bounds the probability that chance alone, at half the rate that
	// a rule tolerates, looks like a broken rule.
	falseAlarm = 1e-4
)

// judge applies a rule to the history of one scope; false when the history says
// nothing about it. The window is the newest sample, or as many before it as it
// takes to hold minRequests, so that a fault shows at once where there is
// traffic and a single bad request is not yet a fault where there is little.
// Nearly all verdicts are that nothing is wrong: only one that is not has the
// distribution of the response times in its window.
func (r *Rule) judge(scope Scope, s *series) (verdict, bool) {
	if r.Measure != nil {
		w := s.newest(scope, 1)
		value, known := r.Measure(&w)
		return verdict{value: value, window: w, broken: known && r.Compare.holds(value, r.Threshold)}, known
	}
	if scope.Pod != "" && r.Metric == CacheHitRate {
		return verdict{}, false // look-ups are a service's
	}
	recent := s.figures(scope, r.enough)
	value, known := recent.Value(r.Metric)
	if !known || !r.enough(&recent) {
		return verdict{}, false
	}
	if r.Compare.holds(value, r.Threshold) {
		if w := s.newest(scope, recent.Samples); r.evident(&w) {
			return verdict{broken: true, value: value, window: w}, true
		}
	}
	if v, goesOn := r.judgeLonger(scope, s, &recent); goesOn {
		return v, true
	}
	return verdict{value: value, window: recent}, true
}

// judgeLonger looks further back, as long as it goes on: a rate just past the
// threshold takes more requests to tell from chance than one sample holds.
func (r *Rule) judgeLonger(scope Scope, s *series, recent *Window) (v verdict, broken bool) {
	if r.Metric != ErrorRate && r.Metric != CacheHitRate {
		return v, false
	}
	if bad, n := r.bad(recent); float64(bad) < r.tolerated()/2*float64(n) {
		return v, false
	}
	long := s.newest(scope, patience)
	value, _ := long.Value(r.Metric)
	if !r.Compare.holds(value, r.Threshold) || !r.evident(&long) {
		return v, false
	}
	return verdict{broken: true, value: value, window: long}, true
}

// enough reports whether w holds as much as the rule needs for a judgement.
func (r *Rule) enough(w *Window) bool {
	switch r.Metric {
	case ResponseTime:
		return w.ResponseTimes.Count() >= minRequests
	case ErrorRate:
		return w.Requests >= minRequests
	case CacheHitRate:
		return w.Hits+w.Misses >= minLookups
	case RequestRate, ConnectionCount, MemoryUsage, CPUUsage:
		return true
	}
	return true
}

// evident reports whether a value past the threshold is more than chance.
func (r *Rule) evident(w *Window) bool {
	high := r.Compare == Above || r.Compare == AtLeast
	switch {
	case r.Metric == ResponseTime && high:
		// A mean can be carried by one request that was slow on purpose.
		return w.ResponseTimes.above(r.Threshold) >= minRequests
	case r.Metric == ErrorRate && high, r.Metric == CacheHitRate && !high:
		bad, n := r.bad(w)
		return float64(bad) >= r.tolerated()*float64(n) && binomialTail(bad, n, r.tolerated()/2) < falseAlarm
	}
	return true
}

// tolerated is the share of bad outcomes at the threshold of a rule on a rate.
func (r *Rule) tolerated() float64 {
	if r.Metric == CacheHitRate {
		return 1 - r.Threshold
	}
	return r.Threshold
}

// bad counts the outcomes that speak for the issue, and all outcomes. A miss
// that only adds a binding to a growing table is a new session, not a lost one.
func (r *Rule) bad(w *Window) (bad, n uint64) {
	if r.Metric == CacheHitRate {
		lost := int64(w.Misses) - max(w.grown, 0)
		return uint64(max(lost, 0)), w.Hits + w.Misses
	}
	return w.Errors, w.Requests
}

// binomialTail is the probability of k or more bad outcomes in n at rate p, by
// the normal approximation where n is large.
func binomialTail(k, n uint64, p float64) float64 {
	if k == 0 || p >= 1 {
		return 1
	}
	if p <= 0 {
		return 0
	}
	if mean, variance := float64(n)*p, float64(n)*p*(1-p); variance > 100 {
		return math.Erfc((float64(k)-.5-mean)/math.Sqrt(2*variance)) / 2
	}
	tail := 0.0
	for i := k; i <= n; i++ {
		term := binomial(i, n, p)
		tail += term
		if term < tail*1e-9 {
			break
		}
	}
	return tail
}

// binomial is the probability of exactly k of n at rate p, through logarithms.
func binomial(k, n uint64, p float64) float64 {
	lg := func(v uint64) float64 { r, _ := math.Lgamma(float64(v) + 1); return r }
	return math.Exp(lg(n) - lg(k) - lg(n-k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
}
