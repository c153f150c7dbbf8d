package analysis

import (
	"strings"
	"testing"
	"time"
)

// observe passes one sample of one pod with these counts.
func observe(a *Analyzer, now time.Time, service ServiceSample, pod PodSample) []Event {
	service.Pods = map[string]PodSample{"chat-0": pod}
	return a.Observe(now, Sample{Services: map[string]ServiceSample{"chat": service}})
}

func newQuiet(t *testing.T) *Analyzer {
	t.Helper()
	a, err := NewAnalyzer(AnalyzerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestAQuietPodIsJudgedOverSeveralSamples(t *testing.T) {
	a, opened := newQuiet(t), 0
	for i := range 4 {
		events := observe(a, noon.Add(time.Duration(i)*interval), ServiceSample{}, PodSample{Requests: 1, Errors: 1})
		if opened += len(events); opened > 0 && i < 2 {
			t.Fatalf("%d failed requests in a row opened %+v", i+1, events)
		}
	}
	if opened != 1 {
		t.Errorf("four failed requests in a row, one in each sample, opened %d issues", opened)
	}
}

func TestASmallExcessOfErrorsIsSeenInTime(t *testing.T) {
	a, opened := newQuiet(t), 0
	for i := range 12 {
		opened += len(observe(a, noon.Add(time.Duration(i)*interval), ServiceSample{}, PodSample{Requests: 50, Errors: 4}))
	}
	if opened != 1 {
		t.Errorf("8 %% errors for a minute opened %d issues, want 1", opened)
	}
}

func TestAHardlyUsedCacheHasNoHitRate(t *testing.T) {
	a := newQuiet(t)
	for i := range 4 {
		if events := observe(a, noon.Add(time.Duration(i)*interval), ServiceSample{Misses: 10}, PodSample{}); len(events) != 0 {
			t.Fatalf("%d look-ups opened %+v", 10*(i+1), events)
		}
	}
	if events := observe(a, noon.Add(4*interval), ServiceSample{Misses: 10}, PodSample{}); len(events) != 1 {
		t.Errorf("50 misses in a row opened %+v, want one issue", events)
	}
}

func TestMoreErrorsThanRequestsAreCutOff(t *testing.T) {
	a := newQuiet(t)
	events := observe(a, noon, ServiceSample{}, PodSample{Requests: 10, Errors: 25})
	if len(events) != 1 || events[0].Value != 1 {
		t.Errorf("events %+v, want one of value 1", events)
	}
}

func TestReportsFollowTheSamples(t *testing.T) {
	a := newQuiet(t)
	for i := range 3 {
		observe(a, noon.Add(time.Duration(i)*interval), ServiceSample{}, PodSample{Requests: 10})
		if r := a.Report(noon, "chat"); r.Statistics.Samples != i+1 || !strings.Contains(r.Summary, "No issues in service chat") {
			t.Errorf("after %d samples: %+v", i+1, r)
		}
	}
	a.Report(noon, "made up by a visitor")
	if len(a.history.known) != 1 {
		t.Errorf("%d reports are kept, want 1", len(a.history.known))
	}
}

func TestHistoryIsBounded(t *testing.T) {
	c := newCluster(t, AnalyzerOptions{History: 30}, "chat-0")
	c.run(100)
	s := c.analyzer.services["chat"].pods["chat-0"]
	oldest := time.Unix(0, s.full[0].start)
	if len(s.full) != 30 || !s.at(0).at.Equal(c.now) || !oldest.Equal(c.now.Add(-30*interval)) {
		t.Errorf("history of %d samples, newest %v, oldest begun %v", len(s.full), s.at(0).at, oldest)
	}
	if events := c.analyzer.Observe(c.now, c.sample()); events != nil {
		t.Errorf("a sample from the past made events %+v", events)
	}
	if got := c.analyzer.Report(c.now, "").Statistics.Samples; got != 30 {
		t.Errorf("%d samples in the statistics, want 30", got)
	}
}
