package insight

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/insight/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLoopLogsEachSevereIssueOnceWhenItOpensAndOnceWhenItIsResolved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := analysis.NewAnalyzer(analysis.AnalyzerOptions{Interval: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		core, logs := observer.New(zap.InfoLevel)
		m, err := metrics.NewMonitor(metrics.MonitorOptions{Process: "test"})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		var openBefore []float64 // at each second
		collect := func(now time.Time) analysis.Sample {
			values, err := m.Snapshot()
			if err != nil {
				t.Error(err)
			}
			openBefore = append(openBefore, values[`stateful_route_analysis_issues{severity="high"}`])
			var times analysis.Durations
			times.AddN(2*time.Second, 50) // medium: never logged
			pod := analysis.PodSample{Requests: 50, ResponseTimes: times}
			if s := now.Sub(start); s > 10*time.Second && s <= 20*time.Second {
				pod.Errors = 25
			}
			return analysis.Sample{Services: map[string]analysis.ServiceSample{"chat": {Pods: map[string]analysis.PodSample{"chat-0": pod}}}}
		}
		loop, err := NewLoop(LoopOptions{
			Analyzer: a, Collect: collect, Interval: time.Second, Logger: zap.New(core), Monitor: m,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- loop.Run(ctx) }()
		time.Sleep(30*time.Second + time.Millisecond) // of the bubble's clock
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if got := logs.All(); len(got) != 2 || got[0].Message != "issue opened" || got[1].Message != "issue resolved" ||
			got[0].ContextMap()["pod"] != "chat-0" || got[1].ContextMap()["lasted"] != 12*time.Second {
			t.Errorf("logs: %+v", got)
		}
		if len(openBefore) != 30 || openBefore[10] != 0 || openBefore[11] != 1 || openBefore[22] != 1 || openBefore[23] != 0 {
			t.Errorf("open high issues per second: %v", openBefore)
		}
	})
}

func TestLoopEndsWithItsContext(t *testing.T) {
	a, err := analysis.NewAnalyzer(analysis.AnalyzerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	loop, err := NewLoop(LoopOptions{Analyzer: a, Collect: func(time.Time) analysis.Sample { return analysis.Sample{} }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := loop.Run(ctx); err == nil {
		t.Error("a deadline is reported as a clean end")
	}
	for name, o := range map[string]LoopOptions{"nothing": {}, "no collect": {Analyzer: a}, "negative": {Analyzer: a, Collect: func(time.Time) analysis.Sample { return analysis.Sample{} }, Interval: -1}} {
		if _, err := NewLoop(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
