package insight_test

import (
	"context"
	"fmt"
	"time"

	"github.com/stateful-route/stateful-route/insight"
	"github.com/stateful-route/stateful-route/insight/analysis"
)

// A loop samples what a collector gathered, until its context ends.
func ExampleLoop() {
	analyzer, err := analysis.NewAnalyzer(analysis.AnalyzerOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	collector := analysis.NewCollector()
	loop, err := insight.NewLoop(insight.LoopOptions{
		Analyzer: analyzer,
		Collect:  func(now time.Time) analysis.Sample { return collector.Collect(now, nil) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	fmt.Println(loop.Run(ctx))
	// Output: <nil>
}
