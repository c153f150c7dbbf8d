package extproc

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/insight/metrics"
)

// fleet is n services of two pods each; the generation is in the pods' names and
// addresses.
func fleet(n, generation int) []ServiceState {
	out := make([]ServiceState, n)
	for i := range out {
		p := pods(2)
		for j := range p {
			p[j].Name = fmt.Sprintf("g%d-%d", generation, j)
			p[j].Address = netip.AddrPortFrom(p[j].Address.Addr(), uint16(generation*1000+j))
		}
		out[i] = ServiceState{chat(func(s *statefulroute.Service) { s.Name = fmt.Sprintf("service-%03d", i) }), p}
	}
	return out
}

// All pods of all services are replaced at once, and at every step of it each
// service is asked for new sessions, by requests that came before as well: each
// finds a pod.
func TestAllPodsReplacedAtOnceRefuseNobody(t *testing.T) {
	const services = 100
	m, err := metrics.NewMonitor(metrics.MonitorOptions{Process: "extproc"})
	if err != nil {
		t.Fatal(err)
	}
	var step func()
	d, err := NewDirectory(DirectoryOptions{Monitor: m, Now: func() time.Time {
		if f := step; f != nil {
			step = nil // deciding looks at the clock, too
			f()
			step = f
		}
		return t0
	}})
	if err != nil {
		t.Fatal(err)
	}
	d.Set(fleet(services, 1), true)
	table, key, asked := newTable(t), 0, 0
	earlier := d.all()
	ask := func(s *service) {
		asked++
		key++
		table.Delete(s.policy.Name, fmt.Sprint(key-1))
		if got := s.decide(t.Context(), MemoryTable{Table: table}, s.place, fmt.Sprint(key), t0); got.pod == nil {
			t.Fatalf("%s: outcome %v, pod %q lost (%s): %v", s.policy.Name, got.outcome, got.lost, got.why, got.err)
		}
	}
	step = func() {
		for _, name := range []string{"service-000", "service-050", "service-099"} {
			ask(earlier[name])
			ask(d.service(name))
		}
	}
	d.Set(fleet(services, 2), true)
	step = nil
	if asked < services {
		t.Fatalf("asked only %d times", asked)
	}
	for _, s := range d.all() {
		ask(s)
		ask(earlier[s.policy.Name])
		if s.chosen("g1-0") != nil || s.before.Load() != nil {
			t.Fatal("a pod that is gone can still be chosen")
		}
	}
}

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
	const rounds = 50
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range rounds {
		if err := s.handle(in); err != nil {
			t.Fatal(err)
		}
		if d.service("service-000").pods["g1-0"].State != statefulroute.Draining {
			t.Fatal("the change is not in force")
		}
		for _, err := range []error{s.handle(out), s.handle(policy), s.handle(back)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / rounds
}

// Weights are Envoy's: their changes touch nothing here, nor do other services'.
func TestWhatDoesNotDifferIsLeftAlone(t *testing.T) {
	s, d := newWatchState(acceptAnything), newDirectory(t)
	mail := chat(func(s *statefulroute.Service) { s.Name = "mail" })
	take := func(version string, weight uint32, p []statefulroute.Pod) {
		t.Helper()
		a := assignment(t, "chat@1", p)
		for _, ep := range a.Endpoints[0].LbEndpoints {
			ep.LoadBalancingWeight = wrapperspb.UInt32(weight)
		}
		changed, err := s.apply(response(t, endpointType, version, nil, a))
		if err != nil {
			t.Fatal(err)
		}
		d.Update(changed.set, changed.gone, s.complete())
	}
	accept(t, s, response(t, clusterType, "1", nil, cluster(t, chat(), "chat@1"), cluster(t, mail, "mail@1")))
	accept(t, s, response(t, endpointType, "1", nil, assignment(t, "mail@1", pods(2))))
	d.Set(s.services(), s.complete())
	take("1", 1, pods(3))
	chatBefore, mailBefore := d.service("chat"), d.service("mail")
	take("2", 7, pods(3))
	if d.service("chat") != chatBefore {
		t.Error("a change of weights rebuilt the service")
	}
	if v := s.assignmentVersions([]string{"chat@1"})["chat@1"]; v != "2" {
		t.Errorf("the version held is %q, want that of the weights", v)
	}
	take("3", 7, withState(pods(3), "chat-1", statefulroute.Draining))
	after := d.service("chat")
	if after == chatBefore || after.pods["chat-1"].State != statefulroute.Draining {
		t.Error("a change of state is not in force")
	}
	if after.pods["chat-0"] != chatBefore.pods["chat-0"] || after.metrics != chatBefore.metrics {
		t.Error("a pod that stays as it is was rebuilt")
	}
	if d.service("mail") != mailBefore {
		t.Error("another service was rebuilt")
	}
	d.Set([]ServiceState{{chat(), inZoneA(pods(3))}, {mail, inZoneA(pods(2))}}, true)
	if d.service("mail") != mailBefore {
		t.Error("Set rebuilt a service that does not differ")
	}
	if names := d.Services(); len(names) != 2 || !slices.IsSortedFunc(names, func(a, b ServiceState) int {
		if a.Service.Name < b.Service.Name {
			return -1
		}
		return 1
	}) {
		t.Errorf("services %v", names)
	}
}
