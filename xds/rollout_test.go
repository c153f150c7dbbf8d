package xds

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/build"
	"github.com/stateful-route/stateful-route/xds/state"
)

// show writes a model as "chat: a@1 b@2(draining)"; unrouted services in brackets.
func show(m state.Model) string {
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

// driven is a rollout, and what its types of client were given.
type driven struct {
	Rollout
	now     time.Time
	given   [2]map[string]*state.ServiceView
	shared  state.Model
	seq     [2]uint64
	through map[wire.ClientType]uint64 // what was answered; not there: everything
	log     []string
	// told is called after each publication.
	told func(Publication)
}

func newDriven(ackTimeout time.Duration) *driven {
	return &driven{Rollout: Rollout{AckTimeout: ackTimeout}, now: time.Unix(100, 0), given: [2]map[string]*state.ServiceView{{}, {}}, through: map[wire.ClientType]uint64{}}
}

// set changes the target to a model made by hand, in which all may differ.
func (d *driven) set(m state.Model) {
	var gone []string
	for name := range d.services {
		if _, ok := m.Service(name); !ok {
			gone = append(gone, name)
		}
	}
	d.Set(d.now, m, m.Services, gone)
}

func (d *driven) progress(a wire.ClientType) Progress {
	through, held := d.through[a]
	if !held {
		through = AllAcked
	}
	return Progress{Acked: through}
}

// step takes what is due now and returns when to come back.
func (d *driven) step() (wake time.Time) {
	for {
		pubs, wake := d.Next(d.now, d.progress)
		if len(pubs) == 0 {
			return wake
		}
		for _, p := range pubs {
			d.take(p)
		}
	}
}

func (d *driven) take(p Publication) {
	d.seq[p.To] = p.Seq
	switch {
	case p.Service == "":
		d.shared = p.Shared
	case p.View == nil:
		delete(d.given[p.To], p.Service)
	default:
		d.given[p.To][p.Service] = p.View
	}
	line := fmt.Sprintf("%s <- %s", p.To, show(d.model(p.To)))
	if len(d.log) == 0 || d.log[len(d.log)-1] != line {
		d.log = append(d.log, line)
	}
	if d.told != nil {
		d.told(p)
	}
}

// model is what one type of client has.
func (d *driven) model(a wire.ClientType) state.Model {
	m := state.Model{Gateway: testGateway()}
	for _, name := range slices.Sorted(maps.Keys(d.given[a])) {
		view := *d.given[a][name]
		if a == wire.Envoy {
			routed := slices.ContainsFunc(d.shared.Services, func(svc *state.ServiceView) bool { return svc.Name == name && !svc.Unrouted })
			view.Unrouted = !routed
		}
		m.Services = append(m.Services, &view)
	}
	return m
}

// run goes on until nothing is left to do, at most until a time.
func (d *driven) run(until time.Time) {
	for {
		wake := d.step()
		if wake.IsZero() || wake.After(until) {
			d.now = until
			return
		}
		d.now = wake
	}
}

func (d *driven) finish() []string {
	d.log = nil
	d.run(d.now.Add(time.Hour))
	return d.log
}

// What the clients are told, and in which order, when they answer at once.
func TestTheWayOfAChange(t *testing.T) {
	a, b, c := testPod("a", 1), testPod("b", 2), testPod("c", 3)
	rooms := testModel(a)
	rooms.Services[0].Name = "rooms"
	both := testModel(a)
	both.Services = append(both.Services, rooms.Services...)
	for _, test := range []struct {
		name          string
		before, after state.Model
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
			"envoy <- chat: a@1 c@2", "extproc <- chat: a@1 c@2"}},
		{"a pod moves to a removed pod's address", testModel(a, b), testModel(testPod("b", 1)), []string{
			"envoy <- chat: b@1 b@2(draining)", "extproc <- chat: b@1", "envoy <- chat: b@1"}},
		{"pods move up in a chain", testModel(a, b, c), testModel(testPod("b", 1), testPod("c", 2)), []string{
			"envoy <- chat: b@1 c@2 c@3(draining)", "extproc <- chat: b@1 c@2", "envoy <- chat: b@1 c@2"}},
		{"two pods swap addresses", testModel(a, b), testModel(testPod("a", 2), testPod("b", 1)), []string{
			"envoy <- chat: a@2 b@1", "extproc <- chat: a@2 b@1"}},
		{"a pod moves and its address is another's now", testModel(a, b), testModel(testPod("a", 2), testPod("b", 9)), []string{
			"envoy <- chat: a@2 b@9 a@1(draining)", "extproc <- chat: a@2 b@9", "envoy <- chat: a@2 b@9"}},
		{"a pod drains", testModel(a, b), testModel(a, inState(b, statefulroute.Draining)), []string{
			"envoy <- chat: a@1 b@2(draining)", "extproc <- chat: a@1 b@2(draining)"}},
		{"one for another", testModel(a, b), testModel(a, c), []string{
			"envoy <- chat: a@1 c@3 b@2(draining)", "extproc <- chat: a@1", "extproc <- chat: a@1 c@3", "envoy <- chat: a@1 c@3"}},
		{"a service joins", testModel(a), both, []string{
			"envoy <- chat: a@1; [rooms]: a@1", "extproc <- chat: a@1; rooms: a@1", "envoy <- chat: a@1; rooms: a@1"}},
		{"a service leaves", both, testModel(a), []string{
			"envoy <- chat: a@1; [rooms]: a@1", "envoy <- chat: a@1", "extproc <- chat: a@1"}},
		{"nothing changes", testModel(a), testModel(a), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDriven(time.Second)
			d.set(test.before)
			d.finish()
			if got, want := show(d.model(wire.Extproc)), show(test.before); got != want || show(d.model(wire.Envoy)) != want {
				t.Fatalf("the first model goes out at once to both: %s, %s", got, show(d.model(wire.Envoy)))
			}
			d.set(test.after)
			if got := d.finish(); !slices.Equal(got, test.want) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(test.want, "\n\t"))
			}
			if !d.Idle() {
				t.Error("something is left to do")
			}
		})
	}
}

// An Envoy that never answers, and something new ten times a second: what takes
// a choice from extprocs they know at once, what gives them one within the timeout, and
// no later change begins that anew.
func TestNothingBeginsAWaitAnew(t *testing.T) {
	d := newDriven(500 * time.Millisecond)
	pods := []statefulroute.Pod{testPod("a", 1), testPod("b", 2), testPod("c", 3)}
	d.set(testModel(pods...))
	d.finish()
	d.through[wire.Envoy] = 0
	knows := func(pod string) bool {
		return slices.ContainsFunc(d.given[wire.Extproc]["chat"].Members, func(m state.Member) bool { return m.Name == pod && m.State.ServesBound() })
	}
	begun, joined := d.now, time.Duration(0)
	pods = append(pods, testPod("late", 9))
	for i := range 20 {
		// Every 100 ms another pod flaps, and a weight changes.
		flapping := i % 3
		model := testModel(pods...)
		model.Services[0].Members[flapping].State = statefulroute.Unhealthy
		model.Services[0].Members[3].EffectiveWeight = uint32(i + 1)
		d.set(model)
		d.step()
		if knows(pods[flapping].Name) {
			t.Fatalf("after %v extprocs do not know that %s is out", d.now.Sub(begun), pods[flapping].Name)
		}
		if joined == 0 && knows("late") {
			joined = d.now.Sub(begun)
		}
		d.run(d.now.Add(100 * time.Millisecond))
	}
	if joined != 500*time.Millisecond {
		t.Errorf("extprocs knew the new pod after %v, want 500ms", joined)
	}
}

// Weights that change while nothing else does are no news for extprocs.
func TestExtprocsHearNothingOfWeights(t *testing.T) {
	d := newDriven(time.Second)
	model := testModel(testPod("a", 1), testPod("b", 2))
	d.set(model)
	d.finish()
	for i := range uint32(5) {
		model = clone(model)
		model.Services[0].Members[0].EffectiveWeight = 10 + i
		d.set(model)
		for _, line := range d.finish() {
			if !strings.HasPrefix(line, "envoy") {
				t.Errorf("told: %s", line)
			}
		}
		if got := d.given[wire.Envoy]["chat"].Members[0].EffectiveWeight; got != 10+i {
			t.Errorf("Envoys have weight %d, want %d", got, 10+i)
		}
	}
}

// Old and new pods together must not weigh more than Envoy accepts: what is on its
// way to the target can always be built.
func TestAddingNeverWeighsTooMuch(t *testing.T) {
	heavy := func(pods ...statefulroute.Pod) state.Model {
		m := testModel(pods...)
		for i := range m.Services[0].Members {
			m.Services[0].Members[i].EffectiveWeight = math.MaxUint32 / 2
			m.Services[0].Members[i].Weight = math.MaxUint32 / 2
		}
		m.Services[0].Members[0].EffectiveWeight++ // 2³²-1 together
		return m
	}
	d := newDriven(time.Second)
	b := build.NewBuilder()
	told := 0
	d.told = func(p Publication) {
		if p.To != wire.Envoy || p.View == nil {
			return
		}
		built, err := b.Service(p.View, wire.Envoy)
		if err != nil {
			t.Fatalf("%s: %v", show(d.model(wire.Envoy)), err)
		}
		var sum uint64
		for _, l := range built.Endpoints.Endpoints {
			for _, e := range l.LbEndpoints {
				if e.LoadBalancingWeight.Value == 0 {
					t.Error("a weight of 0")
				}
				sum += uint64(e.LoadBalancingWeight.Value)
			}
		}
		if sum > math.MaxUint32 {
			t.Errorf("%s: the weights add up to %d", show(d.model(wire.Envoy)), sum)
		}
		told++
	}
	d.set(heavy(testPod("a", 1), testPod("b", 2)))
	d.finish()
	for _, m := range []state.Model{heavy(testPod("a", 1), testPod("c", 3)), heavy(testPod("d", 4), testPod("e", 5))} {
		d.set(m)
		d.finish()
	}
	if told < 5 {
		t.Errorf("%d publications", told)
	}
}

// A request that extproc decided just before it switched is given the time in
// which Envoy would wait for an answer before its pod goes.
func TestRemovingWaitsForRequestsUnderWay(t *testing.T) {
	d := newDriven(time.Second)
	d.set(testModel(testPod("a", 1), testPod("b", 2)))
	d.finish()
	d.set(testModel(testPod("a", 1)))
	wake := d.step()
	if want := d.now.Add(testGateway().MessageTimeout); !wake.Equal(want) || show(d.model(wire.Envoy)) != "chat: a@1 b@2(draining)" {
		t.Fatalf("while requests may be under way: %s, wake in %v", show(d.model(wire.Envoy)), wake.Sub(d.now))
	}
	d.now = wake
	if d.step(); show(d.model(wire.Envoy)) != "chat: a@1" {
		t.Errorf("afterwards: %s", show(d.model(wire.Envoy)))
	}
}

// Extprocs that are expected back after a restart are waited for longer than one
// that does not answer: they have not been told yet.
func TestExtprocsThatAreExpectedAreWaitedFor(t *testing.T) {
	d := newDriven(500 * time.Millisecond)
	d.set(testModel(testPod("a", 1), testPod("b", 2)))
	d.finish()
	back := d.now.Add(5 * time.Second)
	progress := func(a wire.ClientType) Progress {
		if a == wire.Extproc {
			return Progress{ExpectedUntil: back}
		}
		return Progress{Acked: AllAcked}
	}
	d.set(testModel(testPod("a", 1)))
	for {
		pubs, wake := d.Next(d.now, progress)
		for _, p := range pubs {
			d.take(p)
		}
		if show(d.model(wire.Envoy)) == "chat: a@1" {
			break
		}
		if len(pubs) == 0 {
			d.now = wake
		}
	}
	if !d.now.Equal(back) {
		t.Errorf("Envoys lost the pod %v before the extprocs are expected", back.Sub(d.now))
	}
}

// Beside many services one that changes is all that is looked at.
func TestServicesThatDoNotChangeAreNotLookedAt(t *testing.T) {
	d := newDriven(time.Second)
	m := state.Model{Gateway: testGateway()}
	for i := range 200 {
		svc := testModel(testPod("a", 1), testPod("b", 2)).Services[0]
		svc.Name = fmt.Sprintf("service-%d", i)
		m.Services = append(m.Services, svc)
	}
	d.set(m)
	d.finish()
	changed := m.Services[7].WithMembers(slices.Clone(m.Services[7].Members))
	changed.Members[0].State = statefulroute.Unhealthy
	m.Services = slices.Clone(m.Services)
	m.Services[7] = changed
	told := map[string]int{}
	d.told = func(p Publication) { told[p.Service]++ }
	d.Set(d.now, m, []*state.ServiceView{changed}, nil)
	d.finish()
	if len(told) != 1 || told["service-7"] != 3 {
		t.Errorf("told of %v, want of service-7 three times", told)
	}
}
