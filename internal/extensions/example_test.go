package extensions_test

import (
	"errors"
	"fmt"
	"slices"

	"github.com/stateful-route/stateful-route/affinity/evict"
	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/internal/extensions"
)

// first is a balancing strategy: the first pod that has room.
type first struct{}

func (first) Pick(_ string, pods balancing.View) int {
	for i := range pods.Len() {
		if pods.Eligible(i) {
			return i
		}
	}
	return -1
}

// A build adds what it has of its own in All, a line each: the strategies and the pod
// sources to their registries, the analyzer's rules to the list.
func ExampleSet() {
	set, err := extensions.All()
	if err != nil {
		fmt.Println(err)
		return
	}
	err = errors.Join(
		set.Balancing.Register("first", func(balancing.Options) (balancing.Strategy, error) { return first{}, nil }, balancing.Traits{}),
		set.Eviction.Register("oldest", func() evict.Strategy { return nil }),
	)
	set.Rules = append(set.Rules, analysis.Rule{
		Name: "Idle Pod", Severity: analysis.Low, Compare: analysis.Below, Threshold: 1,
		Measure: func(w *analysis.Window) (float64, bool) { return float64(w.Sessions), w.Pod != "" },
	})
	fmt.Println(err, slices.Contains(set.Balancing.Names(), "first"), slices.Contains(set.Eviction.Names(), "oldest"), len(set.Config()))
	// Output: <nil> true true 4
}
