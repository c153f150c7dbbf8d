package load_test

import (
	"fmt"
	"net/netip"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/stateful-route/stateful-route/xds/load"
)

// onePod is the pod chat-0 of the service chat, wherever it is.
type onePod struct{}

func (onePod) HasService(name string) bool { return name == "chat" }
func (onePod) PodAt(string, netip.AddrPort) (pod string, ok bool) {
	return "chat-0", true
}

// Clients report; a second later their reports are taken as one window for each pod.
func ExampleStore() {
	store, now := load.NewStore(), time.Unix(1000, 0)
	for _, envoy := range []string{"envoy-1", "envoy-2"} {
		store.Report(now, envoy, []*endpointv3.ClusterStats{{ClusterName: "chat", UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{{
			UpstreamEndpointStats: []*endpointv3.UpstreamEndpointStats{{
				Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
					Address: "10.0.0.7", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: 8080},
				}}},
				TotalIssuedRequests: 10, TotalSuccessfulRequests: 7, TotalErrorRequests: 1, TotalRequestsInProgress: 2,
			}},
		}}}}, onePod{})
	}
	for _, w := range store.Take().Windows {
		fmt.Println(w.Service, w.Pod, w.Issued, w.Succeeded, w.Failed, w.InFlight)
	}
	fmt.Println(store.Load("chat", "chat-0").ErrorRate)
	// Output:
	// chat chat-0 20 14 2 4
	// 0.125
}
