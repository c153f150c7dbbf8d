package analysis

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDurationsQuantilesAreWithinTheirError(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(1, int64(time.Hour)), 1, 200).Draw(t, "durations")
		split := rapid.IntRange(0, len(values)).Draw(t, "split")
		var d, rest Durations
		sum := 0.0
		for i, v := range values {
			sum += time.Duration(v).Seconds()
			if i < split {
				d.Add(time.Duration(v))
			} else {
				rest.Add(time.Duration(v))
			}
		}
		d.Merge(rest)
		slices.Sort(values)
		for _, q := range []float64{0.01, .5, .95, .99, 1} {
			want := float64(values[int(math.Ceil(q*float64(len(values))))-1]) / 1e9
			if got := d.Quantile(q); math.Abs(got-want) > .1*want {
				t.Fatalf("quantile %v = %v, want %v", q, got, want)
			}
		}
		if n := uint64(len(values)); d.Count() != n || math.Abs(d.Mean()*float64(n)-sum) > 1e-6*sum {
			t.Fatalf("count %d, mean %v of %d durations that sum to %v", d.Count(), d.Mean(), n, sum)
		}
	})
}

func TestDurationsHoldWhateverARemoteReports(t *testing.T) {
	var d Durations
	if d.Mean() != 0 || d.Quantile(.5) != 0 {
		t.Error("an empty Durations has figures")
	}
	d.AddN(time.Second, 0)
	d.AddN(-time.Second, 2)
	d.AddN(math.MaxInt64, math.MaxInt64)
	if d.Count() != math.MaxInt64+2 || math.IsNaN(d.Mean()) || math.IsInf(d.Mean(), 0) || d.Mean() < 0 {
		t.Errorf("count %d, mean %v", d.Count(), d.Mean())
	}
}

func TestBucketedDurationsKeepTheSumAndTheBuckets(t *testing.T) {
	d := BucketedDurations([]float64{.1, .2, 1}, []uint64{50, 40, 5, 5}, 30*time.Second)
	if d.Count() != 100 || math.Abs(d.Mean()-.3) > 1e-9 {
		t.Errorf("count %d, mean %v, want 100 and 0.3", d.Count(), d.Mean())
	}
	if none := BucketedDurations([]float64{.1}, []uint64{0, 0}, time.Second); none.Mean() != 0 || none.sum != 0 {
		t.Errorf("a sum without counts is kept: %v", none.sum)
	}
	for _, c := range []struct{ q, low, high float64 }{{.5, .05, .1}, {.9, .1, .2}, {.95, .2, 1}, {1, 1, 2}} {
		if got := d.Quantile(c.q); got <= c.low || got > c.high {
			t.Errorf("quantile %v = %v, want within (%v, %v]", c.q, got, c.low, c.high)
		}
	}
	if d.above(.5) != 10 || d.above(1) != 5 {
		t.Errorf("%d above 0.5 s and %d above 1 s, want 10 and 5", d.above(.5), d.above(1))
	}
}
