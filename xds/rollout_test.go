package xds

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	statefulroute "github.com/stateful-route/stateful-route"
)

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

// drive runs a rollout whose clients answer at once and notes each stage.
func drive(r *Rollout, now time.Time) (log []string) {
	for !r.Idle() {
		pubs, wake := r.Next(now, func(Audience) bool { return true })
		now = wake
		for _, p := range pubs {
			log = append(log, fmt.Sprintf("%s <- %s", p.To, show(p.Model)))
		}
	}
	return log
}

func TestStagesOfAChange(t *testing.T) {
	a, b, c := testPod("a", 1), testPod("b", 2), testPod("c", 3)
	rooms := testModel(a)
	rooms.Services[0].Name = "rooms"
	both := testModel(a)
	both.Services = append(both.Services, rooms.Services...)
	for _, test := range []struct {
		name          string
		before, after Model
		want          []string
	}{
		{"a pod joins", testModel(a), testModel(a, b), []string{
			"envoy <- chat: a@1 b@2", "extproc <- chat: a@1 b@2"}},
		{"a pod leaves", testModel(a, b), testModel(a), []string{
			"envoy <- chat: a@1 b@2(draining)", "extproc <- chat: a@1", "envoy <- chat: a@1"}},
		{"a pod fails its checks", testModel(a, b), testModel(a, inState(b, statefulroute.Unhealthy)), []string{
			"envoy <- chat: a@1 b@2(draining)", "extproc <- chat: a@1 b@2(unhealthy)", "envoy <- chat: a@1 b@2(unhealthy)"}},
		{"a pod recovers", testModel(a, inState(b, statefulroute.Unhealthy)), testModel(a, b), []string{
			"envoy <- chat: a@1 b@2", "extproc <- chat: a@1 b@2"}},
		{"a pod moves", testModel(a, b), testModel(a, testPod("b", 9)), []string{
			"envoy <- chat: a@1 b@9 b@2(draining)", "extproc <- chat: a@1 b@9", "envoy <- chat: a@1 b@9"}},
		{"a pod's address is another's now", testModel(a, b), testModel(a, testPod("c", 2)), []string{
			"extproc <- chat: a@1", "envoy <- chat: a@1 c@2", "extproc <- chat: a@1 c@2"}},
		{"a pod moves to a removed pod's address", testModel(a, b), testModel(testPod("b", 1)), []string{
			"extproc <- chat: b@2", "envoy <- chat: b@1 b@2(draining)", "extproc <- chat: b@1", "envoy <- chat: b@1"}},
		{"pods move up in a chain", testModel(a, b, c), testModel(testPod("b", 1), testPod("c", 2)), []string{
			"extproc <- chat: b@2 c@3", "envoy <- chat: b@1 c@2 c@3(draining)", "extproc <- chat: b@1 c@2", "envoy <- chat: b@1 c@2"}},
		{"two pods swap addresses", testModel(a, b), testModel(testPod("a", 2), testPod("b", 1)), []string{
			"envoy <- chat: a@2 b@1", "extproc <- chat: a@2 b@1"}},
		{"a pod drains", testModel(a, b), testModel(a, inState(b, statefulroute.Draining)), []string{
			"envoy <- chat: a@1 b@2(draining)", "extproc <- chat: a@1 b@2(draining)"}},
		{"one for another", testModel(a, b), testModel(a, c), []string{
			"envoy <- chat: a@1 c@3 b@2(draining)", "extproc <- chat: a@1 c@3", "envoy <- chat: a@1 c@3"}},
		{"a service joins", testModel(a), both, []string{
			"envoy <- chat: a@1; [rooms]: a@1", "extproc <- chat: a@1; rooms: a@1", "envoy <- chat: a@1; rooms: a@1"}},
		{"a service leaves", both, testModel(a), []string{
			"envoy <- chat: a@1; [rooms]: a@1", "extproc <- chat: a@1", "envoy <- chat: a@1"}},
		{"nothing changes", testModel(a), testModel(a), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, now := &Rollout{Hold: time.Second}, time.Unix(0, 0)
			r.Set(test.before)
			first := drive(r, now)
			if len(first) != 2 {
				t.Fatalf("the first model goes out at once to both: %v", first)
			}
			r.Set(test.after)
			if got := drive(r, now); !slices.Equal(got, test.want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(test.want, "\n\t"))
			}
		})
	}
}

func TestAStageWaitsForAnswersButNotForEver(t *testing.T) {
	r, now := &Rollout{Hold: time.Second}, time.Unix(100, 0)
	r.Set(testModel(testPod("a", 1)))
	drive(r, now)
	r.Set(testModel(testPod("a", 1), testPod("b", 2)))
	silent := func(Audience) bool { return false }
	if pubs, _ := r.Next(now, silent); len(pubs) != 1 || pubs[0].To != Envoys {
		t.Fatalf("widen: %v", pubs)
	}
	pubs, wake := r.Next(now.Add(999*time.Millisecond), silent)
	if len(pubs) != 0 || !wake.Equal(now.Add(time.Second)) {
		t.Fatalf("before the hold ends: %v, wake %v", pubs, wake)
	}
	if pubs, _ = r.Next(now.Add(time.Second), silent); len(pubs) != 1 || pubs[0].To != Extprocs {
		t.Fatalf("after the hold: %v", pubs)
	}
}

// Weights that change every second beside an Envoy that hangs: what else changed
// reaches the extprocs within the hold, and the weights follow.
func TestWeightsDoNotHoldUpAChange(t *testing.T) {
	const hold = 3 * time.Second
	r, now := &Rollout{Hold: hold}, time.Unix(100, 0)
	a, b := testPod("a", 1), testPod("b", 2)
	target := testModel(a, b)
	given := map[Audience]Model{}
	hung := func(who Audience) bool { return who != Envoys }
	run := func(until time.Time) {
		for {
			pubs, wake := r.Next(now, hung)
			for _, p := range pubs {
				given[p.To] = p.Model
			}
			if len(pubs) == 0 && (wake.IsZero() || wake.After(until)) {
				now = until
				return
			}
			now = wake
		}
	}
	r.Set(target)
	run(now)
	target = testModel(a, inState(b, statefulroute.Unhealthy))
	begun, told := now, time.Duration(0)
	for i := range 30 {
		target = target.clone()
		target.Services[0].Members[0].EffectiveWeight = uint32(100 + i)
		r.Set(target)
		run(now.Add(time.Second))
		if told == 0 && given[Extprocs].Services[0].Members[1].State == statefulroute.Unhealthy {
			told = now.Sub(begun)
		}
	}
	if told == 0 || told > hold+time.Second {
		t.Errorf("extproc knew of the unhealthy pod after %v, want at most %v", told, hold+time.Second)
	}
	if w := given[Envoys].Services[0].Members[0].EffectiveWeight; w < 120 {
		t.Errorf("Envoys were last given weight %d of 129", w)
	}
	run(now.Add(4 * hold))
	for who, m := range given {
		if !reflect.DeepEqual(m, target) {
			t.Errorf("%s ends at %s", who, show(m))
		}
	}
}

// Old and new pods together must not weigh more than Envoy accepts: the widened
// model could not be built, and the change would never go out.
func TestWideningNeverWeighsTooMuch(t *testing.T) {
	heavy := func(pods ...statefulroute.Pod) Model {
		m := testModel(pods...)
		for i := range m.Services[0].Members {
			m.Services[0].Members[i].EffectiveWeight = 2_000_000_000
		}
		return m
	}
	r, now := &Rollout{}, time.Unix(0, 0)
	answered := func(Audience) bool { return true }
	r.Set(heavy(testPod("a", 1), testPod("b", 2)))
	drive(r, now)
	r.Set(heavy(testPod("c", 3), testPod("d", 4)))
	for !r.Idle() {
		pubs, wake := r.Next(now, answered)
		now = wake
		for _, p := range pubs {
			if _, err := Build(p.Model); err != nil {
				t.Fatalf("to %s: %v", p.To, err)
			}
		}
	}
}

// A request that extproc decided just before it switched is given the time in
// which Envoy would wait for an answer before its pod goes.
func TestNarrowingWaitsForRequestsUnderWay(t *testing.T) {
	r, now := &Rollout{Hold: time.Second}, time.Unix(100, 0)
	r.Set(testModel(testPod("a", 1), testPod("b", 2)))
	drive(r, now)
	r.Set(testModel(testPod("a", 1)))
	answered := func(Audience) bool { return true }
	r.Next(now, answered)
	if pubs, _ := r.Next(now, answered); len(pubs) != 1 || pubs[0].To != Extprocs {
		t.Fatalf("switch: %v", pubs)
	}
	grace := testGateway().MessageTimeout
	pubs, wake := r.Next(now.Add(time.Millisecond), answered)
	if want := now.Add(time.Millisecond + grace); len(pubs) != 0 || !wake.Equal(want) {
		t.Fatalf("while requests may be under way: %v, wake %v, want %v", pubs, wake, want)
	}
	if pubs, _ := r.Next(wake, answered); len(pubs) != 1 || pubs[0].To != Envoys {
		t.Fatalf("narrow: %v", pubs)
	}
}

// Whatever changes, in whatever order answers come: what extproc may choose,
// Envoy serves; a pod that both the old and the new model have is never missing
// for extproc; and all ends at the target.
func TestExtprocNeverKnowsMoreThanEnvoy(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &driven{Rollout: Rollout{Hold: time.Second}, given: map[Audience]Model{}, answered: map[Audience]bool{Envoys: true, Extprocs: true}}
		now := time.Unix(0, 0)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				d.set(drawModel(t))
			case 1:
				d.answered[Envoys] = true
			case 2:
				d.answered[Extprocs] = true
			case 3:
				now = now.Add(time.Duration(rapid.IntRange(0, 500).Draw(t, "ms")) * time.Millisecond)
			}
			d.step(t, now, func(a Audience) bool { return d.answered[a] })
		}
		target := drawModel(t)
		d.set(target)
		for !d.Idle() {
			d.step(t, now, func(Audience) bool { return true })
			now = now.Add(testGateway().MessageTimeout)
		}
		for _, a := range []Audience{Envoys, Extprocs} {
			if got := show(d.given[a]); got != show(target) {
				t.Fatalf("%s ends at %s, want %s", a, got, show(target))
			}
		}
	})
}

// driven is a rollout with what its audiences hold.
type driven struct {
	Rollout
	given    map[Audience]Model
	answered map[Audience]bool
	goal     Model
	ofEnvoy  Model   // the goal when Envoys were last told
	stays    []podID // what extproc knew when the goal was set, and the goal has
}

func (d *driven) set(m Model) {
	d.goal, d.stays = m, nil
	for _, svc := range d.given[Extprocs].Services {
		for _, p := range svc.Members {
			if NewIndex(m).Has(svc.Name, p.Name) {
				d.stays = append(d.stays, podID{svc.Name, p.Name})
			}
		}
	}
	d.Set(m)
}

func (d *driven) step(t *rapid.T, now time.Time, settled func(Audience) bool) {
	pubs, _ := d.Next(now, settled)
	for _, p := range pubs {
		d.given[p.To], d.answered[p.To] = p.Model, false
		if p.To == Envoys {
			d.ofEnvoy = d.goal
		}
		d.checkServed(t)
		for _, id := range d.stays {
			if !NewIndex(d.given[Extprocs]).Has(id.service, id.pod) {
				t.Fatalf("extproc does not know %s of %s, which stays: %s", id.pod, id.service, show(d.given[Extprocs]))
			}
		}
	}
}

// checkServed wants Envoy to serve what extproc may choose, under the same name,
// unless the pod only moves and another takes its address: extproc then goes
// from the old addresses to the new ones in one step.
func (d *driven) checkServed(t *rapid.T) {
	if len(d.given) < 2 {
		return
	}
	for _, svc := range d.given[Extprocs].Services {
		envoy, _ := d.given[Envoys].service(svc.Name)
		for _, m := range svc.Members {
			if !m.State.ServesBound() {
				continue
			}
			served := slices.ContainsFunc(envoy.Members, func(e Member) bool {
				return e.Address == m.Address && (e.Name == m.Name || NewIndex(d.ofEnvoy).Has(svc.Name, m.Name)) && e.State.ServesBound()
			})
			if !served {
				t.Fatalf("extproc may choose %s@%d of %s\nextproc: %s\nenvoy:   %s", m.Name, m.Address.Port(), svc.Name, show(d.given[Extprocs]), show(d.given[Envoys]))
			}
		}
	}
}

func drawModel(t *rapid.T) Model {
	m := Model{Gateway: testGateway()}
	for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"chat", "rooms"}), rapid.ID).Draw(t, "services") {
		view := ServiceView{Service: testService(name)}
		used := map[uint16]bool{}
		for _, pod := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), rapid.ID).Draw(t, "pods") {
			port := rapid.Uint16Range(1, 4).Filter(func(p uint16) bool { return !used[p] }).Draw(t, "port")
			used[port] = true
			state := rapid.SampledFrom([]statefulroute.PodState{statefulroute.Ready, statefulroute.Draining, statefulroute.Unhealthy, statefulroute.Maintenance}).Draw(t, "state")
			view.Members = append(view.Members, Member{
				Pod: inState(testPod(pod, port), state), EffectiveWeight: rapid.Uint32Range(1, 3).Draw(t, "weight"),
			})
		}
		m.Services = append(m.Services, view)
	}
	return m
}
