package insight_test

import (
	"fmt"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stateful-route/stateful-route/insight"
)

// A program's own collector is served beside the built-in metrics.
func ExampleMonitor_Register() {
	monitor, err := insight.NewMonitor(insight.MonitorOptions{Process: "extproc"})
	if err != nil {
		fmt.Println(err)
		return
	}
	rooms := prometheus.NewGauge(prometheus.GaugeOpts{Name: "game_rooms", Help: "Rooms open."})
	rooms.Set(7)
	if err := monitor.Register("rooms", rooms); err != nil {
		fmt.Println(err)
		return
	}
	monitor.Service("chat").CacheHit()

	values, err := monitor.Snapshot()
	fmt.Println(values["game_rooms"], values[`stateful_route_cache_hits_total{service="chat"}`], err)
	fmt.Println(monitor.Register("rooms", rooms))
	// Output:
	// 7 1 <nil>
	// insight: a collector named "rooms" is already registered
}

// A rule from Go watches a figure that no configured metric has.
func ExampleRule_measure() {
	analyzer, err := insight.NewAnalyzer(insight.AnalyzerOptions{Rules: []insight.Rule{{
		Name: "Crowded Pod", Compare: insight.Above, Threshold: 1000, Severity: insight.High,
		Measure: func(w *insight.Window) (float64, bool) { return float64(w.Sessions), w.Pod != "" },
	}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	events := analyzer.Observe(now, insight.Sample{Services: map[string]insight.ServiceSample{
		"chat": {Pods: map[string]insight.PodSample{"chat-0": {Sessions: 1200}, "chat-1": {Sessions: 300}}},
	}})
	fmt.Println(events[0].Pod, events[0].Value)
	// Output: chat-0 1200
}

func ExampleReport_WriteText() {
	analyzer, err := insight.NewAnalyzer(insight.AnalyzerOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	report := analyzer.Report(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), "chat")
	if err := report.WriteText(os.Stdout); err != nil {
		fmt.Println(err)
	}
	// Output:
	// Report of 2026-03-01T12:00:00Z
	// No metrics yet: no request of service chat has been observed.
}
