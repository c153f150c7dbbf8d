package analysis_test

import (
	"fmt"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/insight/analysis"
)

// What happens between two samples comes in pieces.
func ExampleCollector() {
	collector := analysis.NewCollector()
	second := map[string]analysis.ServiceSample{"chat": {Pods: map[string]analysis.PodSample{"chat-0": {Requests: 7, Sessions: 3}}}}
	collector.Add(second, nil)
	collector.Add(second, nil)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	sample := collector.Collect(now, map[string]map[string]statefulroute.PodState{"chat": {"chat-0": statefulroute.Ready, "chat-1": statefulroute.Draining}})
	fmt.Println(sample.Services["chat"].Pods["chat-0"].Requests, sample.Services["chat"].Pods["chat-1"].State)
	// Output: 14 draining
}
