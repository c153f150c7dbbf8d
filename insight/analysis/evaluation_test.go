package analysis

import (
	"math"
	"math/rand/v2"
	"testing"
)

func TestBinomialTail(t *testing.T) {
	for _, c := range []struct {
		k, n uint64
		p    float64
		want float64
	}{
		{0, 10, .5, 1},
		{10, 10, .5, math.Pow(.5, 10)},
		{3, 3, .025, .025 * .025 * .025},
		{8, 10, .5, 56. / 1024},
		{1, 5, 0, 0},
		{5, 5, 1, 1},
	} {
		if got := binomialTail(c.k, c.n, c.p); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("binomialTail(%d, %d, %v) = %v, want %v", c.k, c.n, c.p, got, c.want)
		}
	}
	// The approximation takes over smoothly: 20,000 tosses at 1 %.
	if got := binomialTail(240, 20_000, .01); got < 1e-3 || got > 4e-3 {
		t.Errorf("binomialTail(240, 20000, .01) = %v, want about 0.0026", got)
	}
}

// TestChanceAloneIsNoFault counts false alarms at half the tolerated rate, the
// worst case that the evidence is meant to rule out, at every size of window.
func TestChanceAloneIsNoFault(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	rule := newQuiet(t).rules[0]
	alarms, trials := 0, 100_000
	for range trials {
		w := Window{Requests: uint64(3 + random.IntN(200))}
		for range w.Requests {
			if random.Float64() < .025 {
				w.Errors++
			}
		}
		if rule.significant(&w) {
			alarms++
		}
	}
	if limit := float64(trials) * falseAlarm; float64(alarms) > 2*limit {
		t.Errorf("%d false alarms in %d windows, want about %v at most", alarms, trials, limit)
	}
}

func TestClearFaultsNeedFewRequests(t *testing.T) {
	rule := newQuiet(t).rules[0]
	for _, c := range []struct {
		errors, requests uint64
		want             bool
	}{{1, 1, false}, {2, 2, false}, {1, 3, false}, {3, 3, true}, {4, 8, true}, {3, 50, false}} {
		w := Window{Errors: c.errors, Requests: c.requests}
		value, _ := w.Value(ErrorRate)
		if got := rule.enough(&w) && rule.Compare.holds(value, rule.Threshold) && rule.significant(&w); got != c.want {
			t.Errorf("%d errors of %d requests are an issue: %v, want %v", c.errors, c.requests, got, c.want)
		}
	}
}
