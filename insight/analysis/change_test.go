package analysis

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// made returns n values of level plus noise of 10 %, with an outlier here and there.
func made(random *rand.Rand, n int, level func(i int) float64) []float64 {
	values := make([]float64, n)
	for i := range values {
		values[i] = level(i) * (1 + .1*random.NormFloat64())
		if random.IntN(25) == 0 {
			values[i] *= 5
		}
	}
	return values
}

func TestFindChange(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	shift := func(i int) float64 { return map[bool]float64{false: 1, true: 2}[i >= 35] }
	trend := func(i int) float64 { return 1 + float64(i)/60 }
	for trial := range 50 {
		got, ok := findChange(made(random, 60, shift))
		if !ok || got.kind != Shift || got.at < 30 || got.at > 40 || math.Abs(got.before-1) > .15 || math.Abs(got.after-2) > .25 {
			t.Errorf("trial %d: shift at 35 from 1 to 2 found as %+v, %v", trial, got, ok)
		}
		got, ok = findChange(made(random, 60, trend))
		if !ok || got.kind != Trend || math.Abs(got.before-1) > .25 || math.Abs(got.after-2) > .3 {
			t.Errorf("trial %d: trend from 1 to 2 found as %+v, %v", trial, got, ok)
		}
	}
}

func TestFindChangeWhereThereIsNone(t *testing.T) {
	random := rand.New(rand.NewPCG(8, 9))
	found := 0
	for range 1000 {
		if _, ok := findChange(made(random, 60, func(int) float64 { return 1 })); ok {
			found++
		}
	}
	if found > 3 {
		t.Errorf("changes found in %d of 1000 series without one", found)
	}
	flat := make([]float64, 60)
	if got, ok := findChange(flat); ok {
		t.Errorf("change in a flat line: %+v", got)
	}
	if got, ok := findChange([]float64{1, 1, 1, 9, 9, 9}); ok {
		t.Errorf("change in six values: %+v", got)
	}
	small := made(random, 60, func(i int) float64 { return 1 + .1*float64(i/30) })
	if got, ok := findChange(small); ok {
		t.Errorf("a change of a tenth is reported: %+v", got)
	}
}

func TestReportTellsOfChanges(t *testing.T) {
	c := newCluster(t, AnalyzerOptions{Historical: true}, "chat-0", "chat-1")
	c.run(360)
	c.pods["chat-1"].response = .2
	changed := c.now
	c.run(360)
	found := false
	for _, change := range c.analyzer.Report(c.now, "chat").Changes {
		if change.Subject() != "pod chat-1" || change.Metric != ResponseTime {
			continue
		}
		found = true
		if change.Kind != Shift || change.Since.Sub(changed).Abs() > time.Minute || !strings.HasPrefix(change.Message, "pod chat-1: response_time_seconds rose from ") {
			t.Errorf("change %+v, want a shift at %v", change, changed)
		}
	}
	if !found {
		t.Error("a pod that became four times slower is not among the changes")
	}
	if changes := newHealthy(t).Report(noon, "").Changes; len(changes) != 0 {
		t.Errorf("changes in a healthy hour: %+v", changes)
	}
}

func newHealthy(t *testing.T) *Analyzer {
	c := newCluster(t, AnalyzerOptions{Historical: true}, "chat-0", "chat-1")
	c.run(720)
	return c.analyzer
}
