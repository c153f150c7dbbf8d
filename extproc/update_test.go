package extproc

import (
	"fmt"
	"slices"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/extproc/extproctest"
	"github.com/stateful-route/stateful-route/wire"
)

// All pods of all services are replaced at once, and at every step of it each
// service is asked for new sessions, by requests that came before as well: each
// finds a pod.
func TestAllPodsReplacedAtOnceRefuseNobody(t *testing.T) {
	const services = 100
	m := extproctest.NewMonitor(t)
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
		if got := s.decide(t.Context(), MemoryTable{Table: table}, s.place, []string{fmt.Sprint(key)}, t0); got.pod == nil {
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

// What does not differ is left alone: a service's pods that stay as they were are not
// rebuilt, and neither are other services.
func TestWhatDoesNotDifferIsLeftAlone(t *testing.T) {
	d := newDirectory(t)
	mail := chat(func(s *statefulroute.Service) { s.Name = "mail" })
	d.Set([]wire.ServiceState{stateOf(chat(), pods(3)), stateOf(mail, pods(2))}, true)
	chatBefore, mailBefore := d.service("chat"), d.service("mail")
	d.Update([]wire.ServiceState{stateOf(chat(), withState(pods(3), "chat-1", statefulroute.Draining))}, nil, true)
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
	d.Set([]wire.ServiceState{stateOf(chat(), pods(3)), stateOf(mail, pods(2))}, true)
	if d.service("mail") != mailBefore || d.service("chat") == after {
		t.Error("Set rebuilt a service that does not differ, or left one that does")
	}
	if names := d.Services(); len(names) != 2 || !slices.IsSortedFunc(names, func(a, b wire.ServiceState) int {
		if a.Service.Name < b.Service.Name {
			return -1
		}
		return 1
	}) {
		t.Errorf("services %v", names)
	}
}
