package analysis_test

import (
	"fmt"
	"os"
	"time"

	"github.com/stateful-route/stateful-route/insight/analysis"
)

// A rule from Go watches a figure that no configured metric has.
func ExampleRule_measure() {
	analyzer, err := analysis.NewAnalyzer(analysis.AnalyzerOptions{Rules: []analysis.Rule{{
		Name: "Chatty Sessions", Compare: analysis.Above, Threshold: 10, Severity: analysis.High,
		Measure: func(w *analysis.Window) (float64, bool) {
			return float64(w.Requests) / float64(w.Sessions), w.Pod != "" && w.Sessions > 0
		},
	}}})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	events := analyzer.Observe(now, analysis.Sample{Services: map[string]analysis.ServiceSample{
		"chat": {Pods: map[string]analysis.PodSample{"chat-0": {Requests: 120, Sessions: 10}, "chat-1": {Requests: 120, Sessions: 60}}},
	}})
	fmt.Println(events[0].Pod, events[0].Value)
	// Output: chat-0 12
}

func ExampleReport_WriteText() {
	analyzer, err := analysis.NewAnalyzer(analysis.AnalyzerOptions{})
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
