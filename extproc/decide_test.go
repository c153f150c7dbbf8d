package extproc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/wire"
)

// world is a service, its table and what changes them in a test of decide.
type world struct {
	t         testing.TB
	directory *Directory
	table     Table
}

func newWorld(t testing.TB, svc statefulroute.Service, p []statefulroute.Pod) *world {
	return &world{t: t, directory: newDirectory(t, stateOf(svc, p)), table: newMemory(t)}
}

func (w *world) set(svc statefulroute.Service, p []statefulroute.Pod) {
	w.directory.Set([]wire.ServiceState{stateOf(svc, p)}, true)
}

func (w *world) decide(key string) decision {
	s := w.directory.service("chat")
	return s.decide(w.t.Context(), w.table, s.place, keysOf(key), t0)
}

// keysOf is what a request with one key, or with none, names.
func keysOf(key string) []string {
	if key == "" {
		return nil
	}
	return []string{key}
}

// expect decides and checks the outcome and, unless it is "", the pod.
func (w *world) expect(key string, o outcome, pod string) decision {
	w.t.Helper()
	d := w.decide(key)
	got := ""
	if d.pod != nil {
		got = d.pod.Name
	}
	if d.outcome != o || (pod != "" && got != pod) {
		w.t.Fatalf("session %q: outcome %d on %q (%v), want %d on %q", key, d.outcome, got, d.err, o, pod)
	}
	return d
}

func (w *world) inFlight(pod string) int64 {
	l, ok := w.directory.service("chat").balancer.Loads()[pod]
	if !ok {
		w.t.Fatalf("no pod %q", pod)
	}
	return l.InFlight
}

func TestDecideFollowsTheBinding(t *testing.T) {
	w := newWorld(t, chat(), pods(3))
	w.expect("", unbound, "")
	first := w.expect("a", claimed, "")
	if first.hit {
		t.Error("a new session counts as a hit")
	}
	for range 20 {
		if d := w.expect("a", known, first.pod.Name); !d.hit {
			t.Error("a known session counts as a miss")
		}
	}
	if n := w.inFlight(first.pod.Name); n != 21 {
		t.Errorf("%d requests in flight, want 21: bound ones count too", n)
	}
}

func TestDecideDrainingKeepsBoundAndTakesNoNew(t *testing.T) {
	w := newWorld(t, chat(), pods(2))
	owner := w.expect("a", claimed, "").pod.Name
	w.set(chat(), withState(pods(2), owner, statefulroute.Draining))
	w.expect("a", known, owner)
	for i := range 20 {
		if d := w.expect(fmt.Sprint("new", i), claimed, ""); d.pod.Name == owner {
			t.Fatalf("a new session on the draining pod %s", owner)
		}
	}
}

func TestDecidePodLost(t *testing.T) {
	lost := map[string]func([]statefulroute.Pod, string) []statefulroute.Pod{
		lostRemoved: without,
		lostUnhealthy: func(p []statefulroute.Pod, name string) []statefulroute.Pod {
			return withState(p, name, statefulroute.Unhealthy)
		},
		lostMaintenance: func(p []statefulroute.Pod, name string) []statefulroute.Pod {
			return withState(p, name, statefulroute.Maintenance)
		},
	}
	for why, lose := range lost {
		t.Run("rebind/"+why, func(t *testing.T) {
			w := newWorld(t, chat(), pods(3))
			owner := w.expect("a", claimed, "").pod.Name
			w.set(chat(), lose(pods(3), owner))
			d := w.expect("a", rebound, "")
			if d.pod.Name == owner || d.why != why || d.lost != owner || !d.hit {
				t.Fatalf("rebound to %s because %s of %s, hit %v", d.pod.Name, d.why, d.lost, d.hit)
			}
			w.expect("a", known, d.pod.Name)
			w.set(chat(), pods(3)) // the pod comes back: the session stays where it is now
			w.expect("a", known, d.pod.Name)
		})
		t.Run("reject/"+why, func(t *testing.T) {
			w := newWorld(t, chat(rejecting), pods(3))
			owner := w.expect("a", claimed, "").pod.Name
			w.set(chat(rejecting), lose(pods(3), owner))
			if d := w.expect("a", podLost, ""); d.why != why || d.lost != owner {
				t.Fatalf("lost %s because %s", d.lost, d.why)
			}
			w.set(chat(rejecting), pods(3)) // the pod comes back, and so does its session
			w.expect("a", known, owner)
		})
	}
}

func TestDecideNoPods(t *testing.T) {
	w := newWorld(t, chat(), nil)
	if d := w.expect("a", noPods, ""); !errors.Is(d.err, balancing.ErrNoPods) {
		t.Errorf("got error %v", d.err)
	}
	w.set(chat(), withState(pods(1), "chat-0", statefulroute.Draining))
	w.expect("a", noPods, "")
	w.set(chat(), pods(1))
	w.expect("a", claimed, "chat-0")
}

func TestDecideServesAtHomeWhenTheTableIsFull(t *testing.T) {
	w := newWorld(t, chat(), pods(5))
	w.expect("a", claimed, "")
	w.table = fullTable{w.table}
	home, _ := w.directory.service("chat").balancer.Home("b")
	for range 5 {
		d := w.expect("b", atHome, home)
		if !errors.Is(d.err, statefulroute.ErrFull) || d.hit {
			t.Fatalf("error %v, hit %v", d.err, d.hit)
		}
		d.picked.Done(t0, balancing.Outcome{})
	}
	for _, p := range pods(5) {
		want := int64(0)
		if b, _ := w.table.Lookup(t.Context(), "chat", "a", t0); b.Pod == p.Name {
			want = 1
		}
		if n := w.inFlight(p.Name); n != want {
			t.Errorf("%s: %d in flight, want %d: a pick that was not used is given back", p.Name, n, want)
		}
	}
}

// fullTable has no room for new bindings.
type fullTable struct{ Table }

func (fullTable) Claim(context.Context, string, string, string, uint32, time.Time) (statefulroute.Binding, error) {
	return statefulroute.Binding{}, statefulroute.ErrFull
}

// racingTable lets another writer in between a look-up and what follows it.
type racingTable struct {
	Table
	before func(call string)
}

func (r *racingTable) Claim(ctx context.Context, service, key, pod string, most uint32, now time.Time) (statefulroute.Binding, error) {
	r.before("claim")
	return r.Table.Claim(ctx, service, key, pod, most, now)
}

func (r *racingTable) Rebind(ctx context.Context, old statefulroute.Binding, to string, most uint32, now time.Time) (statefulroute.Binding, error) {
	r.before("rebind")
	return r.Table.Rebind(ctx, old, to, most, now)
}

func TestDecideLoserOfARaceJoinsTheWinner(t *testing.T) {
	w := newWorld(t, chat(), pods(3))
	table := newTable(t)
	w.table = &racingTable{MemoryTable{Table: table}, func(string) { table.Claim("chat", "a", "chat-2", t0) }}
	w.expect("a", joined, "chat-2")
	total := w.inFlight("chat-0") + w.inFlight("chat-1")
	if total != 0 || w.inFlight("chat-2") != 1 {
		t.Errorf("%d in flight on other pods, %d on the winner's; want 0 and 1", total, w.inFlight("chat-2"))
	}
}

func TestDecideLoserOfARebindFollowsTheWinner(t *testing.T) {
	w := newWorld(t, chat(), pods(3))
	table := newTable(t)
	table.Claim("chat", "a", "gone", t0)
	w.table = &racingTable{MemoryTable{Table: table}, func(string) { table.Move("chat", "a", "chat-1", t0) }}
	w.expect("a", known, "chat-1")
}

func TestDecideSessionForgottenDuringARebindIsNew(t *testing.T) {
	w := newWorld(t, chat(), pods(3))
	table := newTable(t)
	table.Claim("chat", "a", "gone", t0)
	w.table = &racingTable{MemoryTable{Table: table}, func(call string) {
		if call == "rebind" {
			table.Delete("chat", "a")
		}
	}}
	w.expect("a", claimed, "")
}

func TestDecideEndsHoweverThePodsFlap(t *testing.T) {
	w := newWorld(t, chat(), pods(3))
	table := newTable(t)
	table.Claim("chat", "a", "gone", t0)
	n := 0
	w.table = &racingTable{MemoryTable{Table: table}, func(string) {
		n++
		table.Move("chat", "a", fmt.Sprint("gone-", n), t0)
	}}
	w.expect("a", podLost, "")
}

// A pod that joined while a request was being decided is found although the
// request began with older pods; one that left is replaced, whatever the policy.
func TestDecideWhilePodsChange(t *testing.T) {
	w := newWorld(t, chat(rejecting), pods(1))
	old := w.directory.service("chat")
	w.set(chat(rejecting), pods(3)[1:])
	d := old.decide(t.Context(), w.table, old.place, []string{"a"}, t0)
	if d.outcome != claimed || d.pod == nil || d.pod.Name == "chat-0" {
		t.Fatalf("outcome %d on %v, want a claim on a new pod", d.outcome, d.pod)
	}
	stale := newDirectory(t, stateOf(chat(rejecting), pods(2))).service("chat")
	now := w.directory.service("chat")
	picks := 0
	place := &scriptedPlacer{placer: now.place, pick: func() (balancing.PickResult, error) {
		if picks++; picks == 1 {
			return stale.balancer.Start(t0, "chat-0") // left between the pick and the look-up
		}
		return now.balancer.Pick(t0, "b")
	}}
	if d := now.decide(t.Context(), w.table, place, []string{"b"}, t0); d.outcome != rebound || d.pod == nil {
		t.Fatalf("outcome %d on %v, want a rebind to a pod that is there", d.outcome, d.pod)
	}
}

type scriptedPlacer struct {
	placer
	pick func() (balancing.PickResult, error)
}

func (p *scriptedPlacer) Pick(time.Time, string, func(string) bool) (balancing.PickResult, error) {
	return p.pick()
}

func TestDecideConcurrentFirstRequestsAgree(t *testing.T) {
	w := newWorld(t, chat(), pods(7))
	w.table = MemoryTable{Table: newTable(t, func(o *affinity.Options) { o.Shards = 16; o.Capacity = 100000 })}
	for i := range 300 {
		key := fmt.Sprint("s", i)
		names := make([]string, 8)
		var wg sync.WaitGroup
		for g := range names {
			wg.Go(func() { names[g] = w.decide(key).pod.Name })
		}
		wg.Wait()
		if slices.Sort(names); names[0] != names[len(names)-1] {
			t.Fatalf("session %s went to %v", key, names)
		}
	}
}

// Whatever happens to pods and bindings, a bound session whose pod serves it is
// never sent anywhere else, nothing is left in flight, and a refusal says why.
func TestDecideProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		svc := chat()
		if rapid.Bool().Draw(rt, "reject") {
			svc.Session.OnPodLoss = statefulroute.Reject
		}
		w := newWorld(t, svc, pods(4))
		table := newTable(t)
		w.table = MemoryTable{Table: table}
		states := pods(4)
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			if rapid.IntRange(0, 3).Draw(rt, "step") == 0 {
				i := rapid.IntRange(0, 3).Draw(rt, "pod")
				states[i].State = statefulroute.PodState(rapid.IntRange(0, 3).Draw(rt, "state"))
				w.set(svc, slices.Clone(states)) // what was set is kept
				continue
			}
			key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "key")
			before, had := table.Peek("chat", key, t0)
			d := w.decide(key)
			checkDecision(rt, svc, states, before, had, d)
			d.picked.Done(t0, balancing.Outcome{})
		}
		for _, p := range states {
			if n := w.inFlight(p.Name); n != 0 {
				rt.Fatalf("%d requests left in flight on %s", n, p.Name)
			}
		}
	})
}

func checkDecision(rt *rapid.T, svc statefulroute.Service, states []statefulroute.Pod, before statefulroute.Binding, had bool, d decision) {
	state := func(name string) statefulroute.PodState {
		i := slices.IndexFunc(states, func(p statefulroute.Pod) bool { return p.Name == name })
		return states[i].State
	}
	serves := had && state(before.Pod).ServesBound()
	switch {
	case serves && (d.outcome != known || d.pod.Name != before.Pod):
		rt.Fatalf("bound to %s, which serves, but sent to %v", before.Pod, d.pod)
	case had && !serves && svc.Session.OnPodLoss == statefulroute.Reject && d.outcome != podLost:
		rt.Fatalf("outcome %d, want a refusal", d.outcome)
	case !serves && d.pod != nil && !d.pod.State.TakesNew():
		rt.Fatalf("new binding on a pod that is %s", d.pod.State)
	case d.pod == nil && d.outcome != podLost && d.outcome != noPods:
		rt.Fatalf("outcome %d without a pod", d.outcome)
	}
}
