package analysis

import (
	"slices"
	"testing"
)

// Metrics are public names, so none goes away.
func TestTheMetricsThereAre(t *testing.T) {
	want := []Metric{"request_rate", "response_time_seconds", "error_rate", "cache_hit_rate", "connection_count", "memory_usage", "cpu_usage"}
	if got := Metrics(); !slices.Equal(got, want) {
		t.Errorf("metrics %v, want %v", got, want)
	}
}

// A row says all that the analyzer asks of a metric, whatever a window holds.
func TestEveryRowOfTheMetricTableIsComplete(t *testing.T) {
	var full Durations
	full.Add(1e9)
	for i := range metricTable {
		m := &metricTable[i]
		if m.column == "" || m.unit(1) == "" {
			t.Errorf("%s has no heading or no unit", m.name)
		}
		if _, known := m.value(&Window{}); known {
			t.Errorf("%s is known of a window that holds nothing", m.name)
		}
		if (m.outcomes != nil || m.evident != nil) && (m.bad == neither || m.enough == nil) {
			t.Errorf("%s asks for evidence, and not on which side or of how much", m.name)
		}
		if m.enough != nil && m.enough(&Window{Requests: 1, ResponseTimes: full, Hits: 1}) {
			t.Errorf("one request is enough for %s", m.name)
		}
		if metricOf(m.name) != m {
			t.Errorf("%s is listed twice", m.name)
		}
	}
}
