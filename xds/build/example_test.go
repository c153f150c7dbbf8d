package build_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/xds/build"
	"github.com/stateful-route/stateful-route/xds/state"
)

// A service goes in, and Envoy's resources come out.
func ExampleAll() {
	chat := statefulroute.Service{
		Name: "chat", Hosts: []string{"chat.example.com"}, Prefix: "/",
		Session: statefulroute.SessionPolicy{Key: []statefulroute.SessionSource{{Kind: statefulroute.FromCookie, Name: "session"}}},
		Pods: statefulroute.PodSource{Static: []statefulroute.Pod{
			{Name: "chat-0", Address: netip.MustParseAddrPort("10.0.0.7:8080"), Weight: 1},
		}},
	}
	store := state.NewStore()
	store.SetConfig(time.Now(), state.Gateway{Listeners: []state.Listener{{Address: "0.0.0.0:10000"}}, Extprocs: []string{"127.0.0.1:18080"}}, []statefulroute.Service{chat})

	resources, err := build.All(store.Model())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, kind := range []string{resourcev3.ListenerType, resourcev3.RouteType, resourcev3.ClusterType, resourcev3.EndpointType} {
		fmt.Println(kind)
		for _, name := range slices.Sorted(maps.Keys(resources[kind])) {
			name, generation, _ := strings.Cut(name, "@") // a hash of the cluster
			fmt.Println("  "+name, len(generation))
		}
	}
	// Output:
	// type.googleapis.com/envoy.config.listener.v3.Listener
	//   stateful-route 0.0.0.0:10000 0
	// type.googleapis.com/envoy.config.route.v3.RouteConfiguration
	//   stateful-route 0
	//   stateful-route module 0
	// type.googleapis.com/envoy.config.cluster.v3.Cluster
	//   chat 0
	//   stateful-route-extproc 0
	// type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
	//   chat 8
}
