package wire

import "testing"

func TestEveryBucketIsFoundByItsMetric(t *testing.T) {
	for want := range len(ResponseTimeBounds()) + 1 {
		if got, ok := ParseResponseTimeBucket(ResponseTimeBucket(want)); !ok || got != want {
			t.Errorf("%s is bucket %d (%v), want %d", ResponseTimeBucket(want), got, ok, want)
		}
	}
	for _, bound := range []string{"", "0.3", "-1", "NaN", "-Inf", "fast"} {
		if got, ok := ParseResponseTimeBucket(MetricResponseTimeBucket + bound); ok {
			t.Errorf("%q is bucket %d", bound, got)
		}
	}
}
