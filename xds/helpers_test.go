package xds

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"go.uber.org/goleak"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/xds/load"
	"github.com/stateful-route/stateful-route/xds/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testGateway() state.Gateway {
	return state.Gateway{Listeners: []state.Listener{{Address: "0.0.0.0:10000"}}, Extprocs: []string{"127.0.0.1:18080"}, MessageTimeout: 200 * time.Millisecond}
}

// testService answers for every host and path and keys sessions by header.
func testService(name string) statefulroute.Service {
	return statefulroute.Service{
		Name: name, Hosts: []string{"*"}, Prefix: "/",
		Session: statefulroute.SessionPolicy{
			Key:       []statefulroute.SessionSource{{Kind: statefulroute.FromHeader, Name: "x-session-id"}},
			OnPodLoss: statefulroute.Rebind, OnExtprocLoss: statefulroute.Allow,
		},
		Balancing: statefulroute.BalancingPolicy{Strategy: "home_hcl"},
	}
}

func testPod(name string, port uint16) statefulroute.Pod {
	return statefulroute.Pod{Name: name, Address: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), Weight: 1}
}

// testModel is one service, chat, with the given pods.
func testModel(pods ...statefulroute.Pod) state.Model {
	view := &state.ServiceView{Service: testService("chat")}
	for _, p := range pods {
		view.Members = append(view.Members, state.Member{Pod: p, EffectiveWeight: p.Weight})
	}
	return state.Model{Gateway: testGateway(), Services: []*state.ServiceView{view}}
}

func inState(p statefulroute.Pod, s statefulroute.PodState) statefulroute.Pod {
	p.State = s
	return p
}

// clone returns an equal model that shares no view with the other.
func clone(m state.Model) state.Model {
	m.Services = slices.Clone(m.Services)
	for i, svc := range m.Services {
		m.Services[i] = svc.WithMembers(slices.Clone(svc.Members))
	}
	return m
}

func endpointAddress(p statefulroute.Pod) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       p.Address.Addr().String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(p.Address.Port())},
	}}}
}

// podStats is one pod's part of a report: requests as an Envoy counts them.
func podStats(p statefulroute.Pod, ok, failed, inFlight uint64) *endpointv3.UpstreamEndpointStats {
	return &endpointv3.UpstreamEndpointStats{
		Address: endpointAddress(p), TotalIssuedRequests: ok + failed, TotalSuccessfulRequests: ok,
		TotalErrorRequests: failed, TotalRequestsInProgress: inFlight,
	}
}

func clusterStats(pods ...*endpointv3.UpstreamEndpointStats) []*endpointv3.ClusterStats {
	return []*endpointv3.ClusterStats{{ClusterName: "chat", UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{{UpstreamEndpointStats: pods}}}}
}

// await polls until ok, for up to ten seconds.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// loadService is the server's load service.
func loadService(srv *Server) *load.Server {
	return &load.Server{Loads: load.NewStore(), Pods: func() load.Pods { return srv.Model() }}
}

func staticSource(pods ...statefulroute.Pod) statefulroute.PodSource {
	return statefulroute.PodSource{Static: append([]statefulroute.Pod{}, pods...)}
}
