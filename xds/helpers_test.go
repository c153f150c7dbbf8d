package xds

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	statefulroute "github.com/stateful-route/stateful-route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testGateway() Gateway {
	return Gateway{Listener: "0.0.0.0:10000", Extprocs: []string{"127.0.0.1:18080"}, MessageTimeout: 200 * time.Millisecond}
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
func testModel(pods ...statefulroute.Pod) Model {
	view := &ServiceView{Service: testService("chat")}
	for _, p := range pods {
		view.Members = append(view.Members, Member{Pod: p, EffectiveWeight: p.Weight})
	}
	return Model{Gateway: testGateway(), Services: []*ServiceView{view}}
}

func inState(p statefulroute.Pod, s statefulroute.PodState) statefulroute.Pod {
	p.State = s
	return p
}

// clone returns an equal model that shares no view with the other.
func (m Model) clone() Model {
	m.Services = slices.Clone(m.Services)
	for i, svc := range m.Services {
		m.Services[i] = svc.withMembers(slices.Clone(svc.Members))
	}
	return m
}
