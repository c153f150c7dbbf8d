package state_test

import (
	"fmt"
	"net/netip"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/xds/state"
)

// Each owner says its part of a pod, and the model is the sum: a failed health check
// outweighs a drain, and the drain is in force again when the check passes.
func ExampleStore() {
	chat := statefulroute.Service{Name: "chat", Pods: statefulroute.PodSource{Static: []statefulroute.Pod{
		{Name: "chat-0", Address: netip.MustParseAddrPort("10.0.0.7:8080"), Weight: 1},
	}}}
	store := state.NewStore()
	store.SetConfig(time.Now(), state.Gateway{}, []statefulroute.Service{chat})
	show := func(err error) { fmt.Println(store.Model().Services[0].Members[0].State, err) }

	show(store.SetOverride("chat", "chat-0", statefulroute.Draining))
	show(store.SetHealth("chat", "chat-0", state.HealthVerdict{Healthy: false}))
	show(store.SetHealth("chat", "chat-0", state.HealthVerdict{Healthy: true}))
	show(store.SetOverride("chat", "chat-0", statefulroute.Ready))
	show(store.SetOverride("chat", "chat-1", statefulroute.Draining))
	// Output:
	// draining <nil>
	// unhealthy <nil>
	// draining <nil>
	// ready <nil>
	// ready pod "chat-1" of service "chat": unknown pod
}
