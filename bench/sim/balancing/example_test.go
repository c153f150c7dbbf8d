package simulate_test

import (
	"fmt"
	"time"

	simulate "github.com/stateful-route/stateful-route/bench/sim/balancing"
)

func ExampleRun() {
	setting := simulate.Setting{Load: .75, Mixed: true, Seed: 1, Measure: 5 * time.Second}
	trace := simulate.NewTrace(setting)
	ideal := simulate.Ideal(setting, trace)
	result, err := simulate.Run(setting, trace, "least_response_time")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("p99 within a quarter of the ideal:", result.P99 < ideal.P99*5/4)
	// Output: p99 within a quarter of the ideal: true
}
