package statefulroute_test

import (
	"fmt"
	"net/netip"

	statefulroute "github.com/stateful-route/stateful-route"
)

// A pod is known by its name; its address is only where it lives at the moment.
func ExamplePod() {
	pod := statefulroute.Pod{
		Name:    "chat-0",
		Address: netip.MustParseAddrPort("10.0.0.7:8080"),
		Weight:  1,
	}
	fmt.Println(pod.State, pod.State.TakesNew())
	// Output: ready true
}
