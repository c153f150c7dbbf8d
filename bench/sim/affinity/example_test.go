package simulate_test

import (
	"fmt"

	"github.com/stateful-route/stateful-route/affinity"
	simulate "github.com/stateful-route/stateful-route/bench/sim/affinity"
)

func ExampleRun() {
	table, err := affinity.New(affinity.Options{Capacity: 4 * 1_000})
	if err != nil {
		fmt.Println(err)
		return
	}
	r := simulate.Run(simulate.Workload{Seed: 1, Live: 1_000}, simulate.Affinity(table))
	fmt.Println("less than one in a hundred is broken:", r.BrokenShare() < .01)
	// Output: less than one in a hundred is broken: true
}
