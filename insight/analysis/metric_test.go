package analysis

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Metrics are public names, so none goes away.
func TestTheMetricsThereAre(t *testing.T) {
	want := []Metric{"request_rate", "response_time_seconds", "error_rate", "cache_hit_rate", "connection_count", "sessions", "memory_usage", "cpu_usage"}
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
		if (m.outcomes != nil || m.significant != nil) && (m.bad == neither || m.enough == nil) {
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

func TestARuleOnSessions(t *testing.T) {
	crowded := Rule{Name: "Crowded", Metric: Sessions, Compare: Above, Threshold: 1000, Severity: Low}
	a, err := NewAnalyzer(AnalyzerOptions{Rules: []Rule{crowded}, Historical: true})
	if err != nil {
		t.Fatal(err)
	}
	pods := map[string]PodSample{"chat-0": {Sessions: 1200}, "chat-1": {Sessions: 300}, "chat-2": {Sessions: 300}}
	for i := range 60 {
		pods["chat-1"] = PodSample{Sessions: int64(300 + 10*i)}
		for _, e := range a.Observe(noon.Add(time.Duration(i)*interval), podsOf(pods)) {
			if e.Pod != "chat-0" || e.Value != 1200 || i > 0 {
				t.Errorf("event %+v", e)
			}
		}
	}
	r := a.Report(noon, "chat")
	if len(r.Issues) != 1 || !strings.Contains(r.Suggestions[0].Suggestion, "Pod chat-0 has 1200 sessions (limit 1000): add pods to service chat (3 now), or cap each with `balancing.max_sessions`") {
		t.Errorf("issues %+v, suggestions %+v", r.Issues, r.Suggestions)
	}
	service := r.Statistics.Services["chat"]
	if service.of(Sessions).Value != 1200+300+300+295 || service.Pods["chat-1"].of(Sessions).Value != 300+295 {
		t.Errorf("averages %+v", service)
	}
	if len(r.Changes) != 0 {
		t.Errorf("a growing number of sessions is told as a change: %+v", r.Changes)
	}
}
