package state

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	statefulroute "github.com/stateful-route/stateful-route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testGateway() Gateway {
	return Gateway{Listeners: []Listener{{Address: "0.0.0.0:10000"}}, Extprocs: []string{"127.0.0.1:18080"}, MessageTimeout: 200 * time.Millisecond}
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

// show writes a model as "chat: a@1 b@2(draining)"; unrouted services in brackets.
func show(m Model) string {
	var services []string
	for _, svc := range m.Services {
		name := svc.Name
		if svc.Unrouted {
			name = "[" + name + "]"
		}
		text := name + ":"
		for _, p := range svc.Members {
			text += fmt.Sprintf(" %s@%d", p.Name, p.Address.Port())
			if p.State != statefulroute.Ready {
				text += "(" + p.State.String() + ")"
			}
		}
		services = append(services, text)
	}
	return strings.Join(services, "; ")
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
