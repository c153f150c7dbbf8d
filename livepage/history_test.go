package livepage

import (
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/insight/analysis"
)

var epoch = time.Unix(1_000_000_000, 0) // begins a step

// feedSeconds observes one second after the other, beginning at a step.
func feedSeconds(h *history, from, n int, second func(i int) map[string]analysis.PodSample) {
	for i := from; i < from+n; i++ {
		h.add(epoch.Add(time.Duration(i)*time.Second), second(i))
	}
}

func durations(all ...time.Duration) (d analysis.Durations) {
	for _, v := range all {
		d.Add(v)
	}
	return d
}

func TestHistorySumsUpSteps(t *testing.T) {
	var h history
	feedSeconds(&h, 0, 16, func(i int) map[string]analysis.PodSample {
		return map[string]analysis.PodSample{"chat": {
			Requests: 20, Errors: 1, Sessions: int64(i), ResponseTimes: durations(100*time.Millisecond, 300*time.Millisecond),
		}}
	})
	c, version := h.chart()
	series := c.Services["chat"]
	// Of 16 seconds the first step is left out, two are complete, one is open.
	if version != 2 || len(series.RequestRate) != 2 {
		t.Fatalf("version %d, %d points; want 2, 2", version, len(series.RequestRate))
	}
	for name, want := range map[string]struct{ got, want float64 }{
		"request rate":  {*series.RequestRate[0], 20},
		"error rate":    {*series.ErrorRate[0], .05},
		"response time": {*series.ResponseTime[0], .2},
		"sessions":      {*series.Sessions[1], 14},
	} {
		if want.got != want.want {
			t.Errorf("%s is %v, want %v", name, want.got, want.want)
		}
	}
	if p95 := *series.P95[0]; p95 < .27 || p95 > .33 {
		t.Errorf("p95 is %v, want about 0.3", p95)
	}
}

func TestHistoryKnowsNothingOfIdleTime(t *testing.T) {
	var h history
	feedSeconds(&h, 0, 11, func(int) map[string]analysis.PodSample { return map[string]analysis.PodSample{"chat": {}} })
	c, _ := h.chart()
	series := c.Services["chat"]
	if series.ErrorRate[0] != nil || series.ResponseTime[0] != nil || series.P95[0] != nil {
		t.Error("an idle service has an error rate or a response time")
	}
	if series.RequestRate[0] == nil || *series.RequestRate[0] != 0 {
		t.Error("an idle service has no request rate of 0")
	}
}

func TestHistoryShowsAGap(t *testing.T) {
	var h history
	all := func(int) map[string]analysis.PodSample { return map[string]analysis.PodSample{"chat": {Requests: 5}} }
	feedSeconds(&h, 0, 10, all)
	feedSeconds(&h, 30, 10, all)
	feedSeconds(&h, 40, 1, all)
	c, _ := h.chart()
	line := c.Services["chat"].RequestRate
	if len(line) != 7 || line[0] == nil || line[3] != nil || line[6] == nil {
		t.Errorf("%d points, want 7: a known one, a gap and two known ones", len(line))
	}
}

func TestHistoryIsBounded(t *testing.T) {
	var h history
	feedSeconds(&h, 0, 5*(historyPoints+50), func(i int) map[string]analysis.PodSample {
		return map[string]analysis.PodSample{"chat": {Requests: 5, Sessions: int64(i)}}
	})
	c, _ := h.chart()
	if n := len(c.Services["chat"].Sessions); n != historyPoints || len(h.points) != historyPoints {
		t.Errorf("%d points shown, %d kept; want %d", n, len(h.points), historyPoints)
	}
	last := 5*(historyPoints+50) - 6 // the newest step is open
	if got := *c.Services["chat"].Sessions[historyPoints-1]; got != float64(last) {
		t.Errorf("the newest point is of second %v, want %d", got, last)
	}
}

func TestHistoryForgetsRemovedServices(t *testing.T) {
	var h history
	feedSeconds(&h, 0, 20, func(int) map[string]analysis.PodSample { return map[string]analysis.PodSample{"old": {}, "chat": {}} })
	feedSeconds(&h, 20, 6, func(int) map[string]analysis.PodSample { return map[string]analysis.PodSample{"chat": {}} })
	c, _ := h.chart()
	if _, ok := c.Services["old"]; ok || len(c.Services) != 1 {
		t.Errorf("services %v, want chat alone", c.Services)
	}
	for _, p := range h.points {
		if len(p.services) != 1 {
			t.Error("the removed service's past is kept")
		}
	}
}
