package load_test

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/xds/load"
	"github.com/stateful-route/stateful-route/xds/state"
)

// setWeights keeps what was put into force last.
type setWeights struct {
	last atomic.Pointer[map[string]uint32]
}

func (s *setWeights) SetWeights(_ context.Context, weights map[string]map[string]uint32) error {
	last := maps.Clone(weights["chat"])
	s.last.Store(&last)
	return nil
}

func (*setWeights) Suspect(context.Context, string, string) {}

// equalLoad is a second in which every pod answered as many requests in the same
// time.
func equalLoad(l *load.Store, pods []statefulroute.Pod) {
	locality := &endpointv3.UpstreamLocalityStats{Locality: &corev3.Locality{}}
	view := &state.ServiceView{Service: statefulroute.Service{Name: "chat"}}
	for _, p := range pods {
		view.Members = append(view.Members, state.Member{Pod: p})
		locality.UpstreamEndpointStats = append(locality.UpstreamEndpointStats, &endpointv3.UpstreamEndpointStats{
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address: p.Address.Addr().String(), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(p.Address.Port())},
			}}},
			TotalIssuedRequests: 100, TotalSuccessfulRequests: 100, TotalRequestsInProgress: 5,
		})
	}
	report := []*endpointv3.ClusterStats{{ClusterName: "chat", UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{locality}}}
	l.Report(time.Now(), "envoy", report, state.Model{Services: []*state.ServiceView{view}})
}

// What the analyzer finds lowers a pod's weight by itself: the loads of these pods
// are the same all the time.
func TestAFindingAloneLowersAWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pods []statefulroute.Pod
		var members []state.Member
		for i := range 3 {
			p := statefulroute.Pod{Name: fmt.Sprintf("chat-%d", i), Address: netip.MustParseAddrPort(fmt.Sprintf("10.0.0.%d:80", i+1)), Weight: 1}
			pods, members = append(pods, p), append(members, state.Member{Pod: p, EffectiveWeight: 1})
		}
		model := state.Model{Services: []*state.ServiceView{{
			Service: statefulroute.Service{Name: "chat", Balancing: statefulroute.BalancingPolicy{Strategy: "home_hcl", ResponseTimeWindow: time.Minute}},
			Members: members,
		}}}
		var found atomic.Bool
		set := &setWeights{}
		controller := &load.WeightController{
			Logger: zap.NewNop(), Loads: load.NewStore(), Set: set, Prober: set, Model: func() state.Model { return model },
			Penalty: func(service, pod string) float64 {
				if found.Load() && service == "chat" && pod == "chat-1" {
					return .1
				}
				return 1
			},
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- controller.Run(ctx) }()
		for _, step := range []struct {
			found bool
			share float64 // of a peer's weight
		}{{false, 1}, {true, .1}, {false, 1}} {
			found.Store(step.found)
			for range 30 {
				equalLoad(controller.Loads, pods)
				time.Sleep(time.Second)
			}
			last := set.last.Load()
			if last == nil {
				t.Fatal("no weights were set")
			}
			w := *last
			if share := float64(w["chat-1"]) / float64(w["chat-0"]); share < .9*step.share || share > 1.1*step.share || w["chat-0"] != w["chat-2"] {
				t.Errorf("finding %v: weights %v, want chat-1 with %v of its peers'", step.found, w, step.share)
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
