package analysis

import (
	"math"
	"time"
)

// evaluation is what one rule says of one scope at one moment.
type evaluation struct {
	broken bool
	value  float64
	window Window
	since  time.Time // when the rule was first found broken
}

const (
	// lookback is the number of samples looked back at when the newest alone
	// hold too little to evaluate a rule.
	lookback = 12
	// falseAlarm bounds the probability that chance alone, at half the rate that
	// a rule tolerates, looks like a broken rule.
	falseAlarm = 1e-4
)

// evaluate applies a rule to the history of one scope; false when the history says
// nothing about it. The window is the newest sample, or as many before it as it
// takes to hold minRequests, so that a fault shows at once where there is
// traffic and a single bad request is not yet a fault where there is little.
// Nearly all verdicts are that nothing is wrong: only one that is not has the
// distribution of the response times in its window.
func (r *Rule) evaluate(scope Scope, s *series) (evaluation, bool) {
	if r.Measure != nil {
		w := s.newest(scope, 1)
		value, known := r.Measure(&w)
		return evaluation{value: value, window: w, broken: known && r.Compare.holds(value, r.Threshold)}, known
	}
	if scope.Pod != "" && r.figure.serviceOnly {
		return evaluation{}, false
	}
	recent := &Window{Scope: scope}
	s.figures(recent, r.enough)
	value, known := r.figure.value(recent)
	if !known || !r.enough(recent) {
		return evaluation{}, false
	}
	if r.Compare.holds(value, r.Threshold) {
		if w := s.newest(scope, recent.Samples); r.significant(&w) {
			return evaluation{broken: true, value: value, window: w}, true
		}
	}
	if v, goesOn := r.evaluateLonger(scope, s, recent); goesOn {
		return v, true
	}
	return evaluation{value: value, window: *recent}, true
}

// evaluateLonger looks further back, as long as it goes on: a rate just past the
// threshold takes more requests to tell from chance than one sample holds.
func (r *Rule) evaluateLonger(scope Scope, s *series, recent *Window) (v evaluation, broken bool) {
	if r.figure.outcomes == nil {
		return v, false
	}
	if bad, n := r.figure.outcomes(recent); float64(bad) < r.figure.tolerated(r.Threshold)/2*float64(n) {
		return v, false
	}
	long := s.newest(scope, lookback)
	value, _ := r.figure.value(&long)
	if !r.Compare.holds(value, r.Threshold) || !r.significant(&long) {
		return v, false
	}
	return evaluation{broken: true, value: value, window: long}, true
}

// enough reports whether w holds as much as the rule needs for a judgement.
func (r *Rule) enough(w *Window) bool { return r.figure.enough == nil || r.figure.enough(w) }

// significant reports whether a value past the threshold is more than chance. Only a
// fault needs evidence: nobody is blamed for an error rate below a threshold.
func (r *Rule) significant(w *Window) bool {
	switch {
	case r.Compare.side() != r.figure.bad:
		return true
	case r.figure.significant != nil:
		return r.figure.significant(w, r.Threshold)
	case r.figure.outcomes != nil:
		bad, n := r.figure.outcomes(w)
		tolerated := r.figure.tolerated(r.Threshold)
		return float64(bad) >= tolerated*float64(n) && binomialTail(bad, n, tolerated/2) < falseAlarm
	}
	return true
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
