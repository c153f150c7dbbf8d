package build

import (
	"net/netip"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/xds/state"
)

// t0 is when nothing depends on the time.
var t0 = time.Unix(1000, 0)

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
