package xdsclient

import (
	"runtime"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

// What a change of one service costs does not depend on how many there are.
func TestAChangeCostsWhatItChanges(t *testing.T) {
	few, many := costOfAChange(t, 10), costOfAChange(t, 1000)
	t.Logf("one service's change allocates %d bytes among 10 services and %d among 1,000", few, many)
	if many > few*12/10 {
		t.Errorf("one service's change allocates %d bytes among 1,000 services, %d among 10", many, few)
	}
}

func costOfAChange(t *testing.T, services int) uint64 {
	t.Helper()
	d := newDirectory(t)
	w, err := NewWatcher(WatcherOptions{Conn: &grpc.ClientConn{}, NodeID: testNode, Services: d})
	if err != nil {
		t.Fatal(err)
	}
	s := &adsStream{watcher: w, subscribed: map[string]bool{}, client: ackStream{acked: func(string) {}}}
	for _, state := range fleet(services, 1) {
		name := state.Service.Name
		for _, err := range []error{
			s.handle(response(t, clusterType, "1", nil, cluster(t, state.Service, name+"@1"))),
			s.handle(response(t, endpointType, "1", nil, assignment(t, name+"@1", state.Pods))),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	one := fleet(1, 1)[0]
	drained := withState(one.Pods, one.Pods[0].Name, statefulroute.Draining)
	in := response(t, endpointType, "2", nil, assignment(t, "service-000@1", drained))
	out := response(t, endpointType, "3", nil, assignment(t, "service-000@1", one.Pods))
	policy := response(t, clusterType, "2", nil, cluster(t, chat(func(s *statefulroute.Service) { rejecting(s); s.Name = "service-000" }), "service-000@1"))
	back := response(t, clusterType, "3", nil, cluster(t, one.Service, "service-000@1"))
	if err := s.handle(in); err != nil {
		t.Fatal(err)
	}
	for _, state := range d.Services() {
		if state.Service.Name == "service-000" && state.Pods[0].State != statefulroute.Draining {
			t.Fatal("the change is not in force")
		}
	}
	const rounds = 50
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		for _, err := range []error{s.handle(in), s.handle(out), s.handle(policy), s.handle(back)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / rounds
}

// Weights are Envoy's: a change of them is none of a service, nor is another service's.
func TestWhatDoesNotDifferIsNoChange(t *testing.T) {
	s := newWatchState(acceptAnything)
	mail := chat(func(s *statefulroute.Service) { s.Name = "mail" })
	take := func(version string, weight uint32, p []statefulroute.Pod) []wire.ServiceState {
		t.Helper()
		a := assignment(t, "chat@1", p)
		for _, ep := range a.Endpoints[0].LbEndpoints {
			ep.LoadBalancingWeight = wrapperspb.UInt32(weight)
		}
		changed, err := s.apply(response(t, endpointType, version, nil, a))
		if err != nil || len(changed.gone) > 0 {
			t.Fatalf("%v gone, %v", changed.gone, err)
		}
		return changed.set
	}
	accept(t, s, response(t, clusterType, "1", nil, cluster(t, chat(), "chat@1"), cluster(t, mail, "mail@1")))
	accept(t, s, response(t, endpointType, "1", nil, assignment(t, "mail@1", pods(2))))
	if set := take("1", 1, pods(3)); len(set) != 1 || len(set[0].Pods) != 3 {
		t.Errorf("first pods: %v", set)
	}
	if set := take("2", 7, pods(3)); len(set) != 0 {
		t.Errorf("a change of weights changed %v", set)
	}
	if v := s.assignmentVersions([]string{"chat@1"})["chat@1"]; v != "2" {
		t.Errorf("the version held is %q, want that of the weights", v)
	}
	set := take("3", 7, withState(pods(3), "chat-1", statefulroute.Draining))
	if len(set) != 1 || set[0].Service.Name != "chat" || set[0].Pods[1].State != statefulroute.Draining {
		t.Errorf("a change of state: %v", set)
	}
}
