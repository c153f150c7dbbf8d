package probe

import (
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/xds/state"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testModel is one service, chat, with the given pods.
func testModel(pods ...statefulroute.Pod) state.Model {
	view := &state.ServiceView{Service: statefulroute.Service{Name: "chat"}}
	for _, p := range pods {
		view.Members = append(view.Members, state.Member{Pod: p, EffectiveWeight: p.Weight})
	}
	return state.Model{Services: []*state.ServiceView{view}}
}

// clone returns an equal model that shares no view with the other.
func clone(m state.Model) state.Model {
	m.Services = slices.Clone(m.Services)
	for i, svc := range m.Services {
		m.Services[i] = svc.WithMembers(slices.Clone(svc.Members))
	}
	return m
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
