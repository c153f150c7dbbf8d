package analysis

import (
	"strings"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// collected is an analyzer that is fed by a collector, with three pods of chat.
type collected struct {
	*Analyzer
	*Collector
	now  time.Time
	pods map[string]map[string]statefulroute.PodState
}

func newCollected(t *testing.T) *collected {
	t.Helper()
	a, err := NewAnalyzer(AnalyzerOptions{Interval: time.Second, History: 60})
	if err != nil {
		t.Fatal(err)
	}
	return &collected{a, NewCollector(), noon, map[string]map[string]statefulroute.PodState{"chat": {"chat-0": 0, "chat-1": 0, "chat-2": 0}}}
}

// sampled is the report after the next sample.
func (c *collected) sampled(after time.Duration) Report {
	c.now = c.now.Add(after)
	c.Observe(c.now, c.Collect(c.now, c.pods))
	return c.Report(c.now, "")
}

// The analyzer may sample more often than extprocs report.
func TestAReplicaThatSaysNothingNewIsNotGone(t *testing.T) {
	c := newCollected(t)
	full := ReplicaSample{ProcessSample: ProcessSample{Memory: 95, MemoryLimit: 100}, Size: 5, Capacity: 10, Evictions: 3}
	c.Add(nil, map[string]ReplicaSample{"extproc/a#1": full, "extproc/new#1": {}})
	if s := c.Collect(c.now, nil); s.Table != (TableSample{Size: 5, Capacity: 10, Replicas: 1, Evictions: 3}) {
		t.Errorf("table: %+v", s.Table)
	}
	for range 5 {
		if report := c.sampled(100 * time.Millisecond); len(report.Issues) != 1 || report.Issues[0].Process != "extproc/a#1" {
			t.Fatalf("issues: %+v", report.Issues)
		}
	}
	if s := c.Collect(c.now, nil); s.Table != (TableSample{Size: 5, Capacity: 10, Replicas: 1}) {
		t.Errorf("table: %+v, its evictions counted again or its size lost", s.Table)
	}
	var report Report
	for range 3 {
		c.Add(nil, nil)
		report = c.sampled(100 * time.Millisecond)
	}
	if len(report.Issues) != 0 {
		t.Errorf("a replica that went away still has issues: %+v", report.Issues)
	}
}

func TestASampleIsTheSumOfWhatWasAdded(t *testing.T) {
	c := newCollected(t)
	c.pods["chat"]["chat-1"] = statefulroute.Draining
	c.pods["idle"] = map[string]statefulroute.PodState{}
	second := answering(10, 20*time.Millisecond)
	second.Errors, second.InFlight, second.Sessions = 3, 4, 12
	for range 2 {
		c.Add(map[string]ServiceSample{"chat": {Hits: 5, Misses: 1, Pods: map[string]PodSample{"chat-1": second}}}, nil)
	}
	s := c.Collect(c.now, c.pods)
	got := s.Services["chat"].Pods["chat-1"]
	if got.Requests != 20 || got.Errors != 6 || got.ResponseTimes.Count() != 20 || got.InFlight != 4 || got.Sessions != 12 || got.State != statefulroute.Draining {
		t.Errorf("chat-1: %+v", got)
	}
	if chat := s.Services["chat"]; chat.Hits != 10 || chat.Misses != 2 || len(chat.Pods) != 3 || chat.Pods["chat-0"].State != statefulroute.Ready {
		t.Errorf("chat: %+v", chat)
	}
	if _, there := s.Services["idle"]; !there {
		t.Error("a service without pods is missing")
	}
	if again := c.Collect(c.now, c.pods).Services["chat"]; again.Hits != 0 || again.Pods["chat-1"].Requests != 0 {
		t.Errorf("collected twice: %+v", again)
	}
}

// A pod that passes and fails its health checks in turn is named, and no more when
// it has been well for a while.
func TestAFlappingPodIsNamed(t *testing.T) {
	c := newCollected(t)
	probe := func(healthy bool) Report {
		for _, pod := range []string{"chat-0", "chat-1", "gone"} {
			c.Probed(c.now, "chat", pod, healthy || pod == "chat-0")
		}
		return c.sampled(time.Second)
	}
	for i := range 3 {
		if got := probe(true).Issues; len(got) != 0 {
			t.Fatalf("after %d failures: %+v", i, got)
		}
		probe(false)
	}
	report := probe(false)
	if len(report.Issues) != 1 || report.Issues[0].Rule != FlappingPod || report.Issues[0].Pod != "chat-1" || report.Issues[0].Value != 3 {
		t.Fatalf("issues: %+v", report.Issues)
	}
	if got := report.Suggestions; len(got) != 1 || !strings.Contains(got[0].Suggestion, "chat-1 began to fail its health checks 3 times within a minute") {
		t.Errorf("suggestions: %+v", got)
	}
	for range 70 {
		report = probe(true)
	}
	if len(report.Issues) != 0 || len(c.flaps.pods) != 0 {
		t.Errorf("a minute later: %+v, %d pods are remembered", report.Issues, len(c.flaps.pods))
	}
}
