package xds

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/state"
)

// Whatever changes, and however clients answer, late, never, with refusals, or by
// coming back:
//
//   - an extproc chooses no pod that an Envoy cannot reach, as far as either is
//     waited for;
//   - what is taken from extprocs they are told in the same step, what is given to
//     them within the timeout;
//   - a pod that stays is never missing for them, and never at an address that is
//     another's;
//   - nothing unbound is sent to a pod that is not ready;
//   - all ends at the target, also beside clients that answer nothing.
func TestExtprocChoosesWhatEnvoysReach(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			w.happen(t)
			w.settle(t)
		}
		w.set(drawModel(t))
		w.settle(t)
		silent := rapid.Bool().Draw(t, "silent")
		for i := 0; !w.d.Idle(); i++ {
			if i > 100 || silent && w.d.now.Sub(w.changed) > 3*ackTimeout+testGateway().MessageTimeout {
				t.Fatalf("not at the target yet: %s", w)
			}
			for _, c := range w.clients {
				if !silent {
					w.answer(c, true)
				}
			}
			w.d.now = w.d.now.Add(50 * time.Millisecond)
			w.settle(t)
		}
		for _, a := range []wire.ClientType{wire.Envoy, wire.Extproc} {
			if got, want := show(w.d.model(a)), show(sorted(w.target)); got != want {
				t.Fatalf("%s ends at %s, want %s", a, got, want)
			}
		}
	})
}

const ackTimeout = 500 * time.Millisecond

// world is a rollout with clients.
type world struct {
	d       *driven
	clients []*simulated
	target  state.Model
	changed time.Time

	served  map[servedAt]time.Time // since when Envoys are told to serve an address
	dropped map[choice]time.Time   // when extprocs were told to choose it no more
	wanted  map[choice]time.Time   // since when the target wants it served
	moved   map[choice]bool        // chosen although not reached yet: the old address is another's
}

type servedAt struct {
	service string
	at      netip.AddrPort
}

type choice struct {
	service, pod string
	at           netip.AddrPort
}

// simulated is a client: what it has put into force, and what it was sent since.
type simulated struct {
	clientType wire.ClientType
	has        content // nil: not known
	sent       content // not answered; nil: nothing
	sentSeq    uint64
	through    uint64
	behind     time.Time
}

// content is what a client has, by service.
type content map[string]*state.ServiceView

func newWorld(t *rapid.T) *world {
	w := &world{
		d: newDriven(ackTimeout), served: map[servedAt]time.Time{}, dropped: map[choice]time.Time{},
		wanted: map[choice]time.Time{}, moved: map[choice]bool{},
	}
	w.d.told = w.told
	w.set(drawModel(t))
	w.d.step()
	extprocs := rapid.IntRange(1, 2).Draw(t, "extprocs")
	for i := range extprocs + rapid.IntRange(1, 4).Draw(t, "envoys") {
		c := &simulated{clientType: wire.Envoy}
		if i < extprocs {
			c.clientType = wire.Extproc
		}
		w.clients = append(w.clients, c)
		w.connect(c)
	}
	return w
}

func (w *world) String() string {
	return fmt.Sprintf("target %s; envoys %s; extprocs %s", show(w.target), show(w.d.model(wire.Envoy)), show(w.d.model(wire.Extproc)))
}

func (w *world) happen(t *rapid.T) {
	c := w.clients[rapid.IntRange(0, len(w.clients)-1).Draw(t, "client")]
	switch rapid.SampledFrom([]string{"change", "answer", "answer", "answer", "refuse", "reconnect", "time", "time"}).Draw(t, "what") {
	case "change":
		w.set(drawModel(t))
	case "answer":
		w.answer(c, true)
	case "refuse":
		w.answer(c, false)
	case "reconnect":
		w.connect(c)
	case "time":
		w.d.now = w.d.now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "ms")) * time.Millisecond)
	}
}

func (w *world) set(m state.Model) {
	w.target, w.changed = m, w.d.now
	wanted := map[choice]time.Time{}
	for _, svc := range m.Services {
		for _, p := range svc.Members {
			id := choice{svc.Name, p.Name, p.Address}
			if p.State.ServesBound() {
				wanted[id] = w.d.now
				if since, ok := w.wanted[id]; ok {
					wanted[id] = since
				}
			}
		}
	}
	w.wanted = wanted
	w.d.set(m)
}

// connect has a client start over, with what it had before unknown.
func (w *world) connect(c *simulated) {
	c.has, c.through, c.behind = nil, 0, w.d.now
	c.sent, c.sentSeq = maps.Clone(w.d.given[c.clientType]), w.d.seq[c.clientType]
}

func (w *world) answer(c *simulated, accepts bool) {
	if c.sent == nil {
		return
	}
	c.has = nil
	// One that lagged has to catch up first: others went on without it.
	if accepts && (!c.lags(w.d.now) || c.sentSeq == w.d.seq[c.clientType]) {
		c.has = c.sent
	}
	c.through, c.sent, c.behind = c.sentSeq, nil, w.d.now
	if w.d.seq[c.clientType] > c.sentSeq {
		c.sent, c.sentSeq = maps.Clone(w.d.given[c.clientType]), w.d.seq[c.clientType]
	}
}

func (c *simulated) lags(now time.Time) bool { return c.sent != nil && now.Sub(c.behind) >= ackTimeout }

// states are what the client may be acting on, if anybody relies on it.
func (c *simulated) states(now time.Time) []content {
	if c.has == nil || c.lags(now) {
		return nil
	}
	if c.sent == nil {
		return []content{c.has}
	}
	return []content{c.has, c.sent}
}

func (w *world) progress() {
	for _, a := range []wire.ClientType{wire.Envoy, wire.Extproc} {
		delete(w.d.through, a)
		for _, c := range w.clients {
			if c.clientType != a || c.sent == nil || c.lags(w.d.now) {
				continue
			}
			if least, ok := w.d.through[a]; !ok || c.through < least {
				w.d.through[a] = c.through
			}
		}
	}
}

// told sends a publication to the clients that owe nothing.
func (w *world) told(p Publication) {
	for _, c := range w.clients {
		if c.clientType == p.To && (c.sent == nil || c.sentSeq == p.Seq) {
			if c.sent == nil {
				c.through, c.behind = p.Seq-1, w.d.now
			}
			c.sent, c.sentSeq = maps.Clone(w.d.given[p.To]), p.Seq
		}
	}
}

// settle takes what is due and checks it.
func (w *world) settle(t *rapid.T) {
	before := choices(w.d.given[wire.Extproc])
	for range 1000 {
		w.progress()
		pubs, _ := w.d.Next(w.d.now, w.d.progress)
		if len(pubs) == 0 {
			break
		}
		for _, p := range pubs {
			w.d.take(p)
		}
	}
	w.book(before)
	w.checkTarget(t, before)
	w.checkReached(t)
}

// choices are the pods that something in what extprocs have may be bound to.
func choices(c content) map[choice]bool {
	out := map[choice]bool{}
	for name, svc := range c {
		for _, m := range svc.Members {
			if m.State.ServesBound() {
				out[choice{name, m.Name, m.Address}] = true
			}
		}
	}
	return out
}

func (w *world) book(before map[choice]bool) {
	envoys := map[servedAt]time.Time{}
	for name, svc := range w.d.given[wire.Envoy] {
		for at := range served(svc) {
			id := servedAt{name, at}
			envoys[id] = w.d.now
			if since, ok := w.served[id]; ok {
				envoys[id] = since
			}
		}
	}
	w.served = envoys
	now := choices(w.d.given[wire.Extproc])
	for id := range before {
		if !now[id] {
			w.dropped[id] = w.d.now
		}
	}
	for id := range now {
		delete(w.dropped, id)
		if !before[id] {
			w.moved[id] = w.hadAnothers(before, id)
		}
	}
}

// hadAnothers reports whether the pod was chosen at an address that is another's
// now.
func (w *world) hadAnothers(before map[choice]bool, id choice) bool {
	svc, _ := w.target.Service(id.service)
	for old := range before {
		if old.service == id.service && old.pod == id.pod && svc != nil {
			owner := owners(svc)[old.at]
			return owner != "" && owner != id.pod
		}
	}
	return false
}

// checkTarget compares what was published with what is meant to be.
func (w *world) checkTarget(t *rapid.T, before map[choice]bool) {
	now := choices(w.d.given[wire.Extproc])
	named := map[choice]bool{}
	for id := range now {
		named[choice{service: id.service, pod: id.pod}] = true
		svc, ok := w.target.Service(id.service)
		if !ok {
			continue // the service is on its way out
		}
		if owner := owners(svc)[id.at]; owner != "" && owner != id.pod {
			t.Fatalf("%s is chosen at %s's address: %s", id.pod, owner, w)
		}
		if !slices.ContainsFunc(svc.Members, func(m state.Member) bool { return m.Name == id.pod && m.State.ServesBound() }) {
			t.Fatalf("extprocs were not told at once that %s is out: %s", id.pod, w)
		}
	}
	for id, since := range w.wanted {
		if w.d.now.Sub(since) >= ackTimeout && !now[id] {
			t.Fatalf("extprocs do not know %s at %s after %v: %s", id.pod, id.at, w.d.now.Sub(since), w)
		}
		for old := range before {
			if old.service == id.service && old.pod == id.pod && !named[choice{service: id.service, pod: id.pod}] {
				t.Fatalf("%s stays, and extprocs do not know it: %s", id.pod, w)
			}
		}
	}
	w.checkUnbound(t)
}

func (w *world) checkUnbound(t *rapid.T) {
	for name, given := range w.d.given[wire.Envoy] {
		svc, ok := w.target.Service(name)
		if !ok {
			continue
		}
		for _, m := range given.Members {
			ready := func(want state.Member) bool { return want.Address == m.Address && want.State == statefulroute.Ready }
			if m.State == statefulroute.Ready && !slices.ContainsFunc(svc.Members, ready) {
				t.Fatalf("Envoys send unbound requests to %s at %s: %s", m.Name, m.Address, w)
			}
		}
	}
	for _, svc := range w.d.shared.Services {
		if !svc.Unrouted && (w.d.given[wire.Envoy][svc.Name] == nil || w.d.given[wire.Extproc][svc.Name] == nil) {
			t.Fatalf("%s has a route and is not known: %s", svc.Name, w)
		}
	}
}

// checkReached wants every Envoy that is waited for to reach what every such
// extproc may choose. Only where somebody has had the timeout to answer may it fail.
func (w *world) checkReached(t *rapid.T) {
	for id := range choices(w.d.given[wire.Extproc]) {
		if _, ok := w.served[servedAt{id.service, id.at}]; !ok {
			t.Fatalf("Envoys are not told of %s: %s", id.pod, w)
		}
	}
	for _, x := range w.clients {
		if x.clientType != wire.Extproc {
			continue
		}
		for _, state := range x.states(w.d.now) {
			for id := range choices(state) {
				w.checkChoice(t, id)
			}
		}
	}
}

func (w *world) checkChoice(t *rapid.T, id choice) {
	if !slices.ContainsFunc(w.d.shared.Services, func(svc *state.ServiceView) bool { return svc.Name == id.service && !svc.Unrouted }) {
		return // no request comes to where it would be chosen
	}
	if at, ok := w.dropped[id]; ok && w.d.now.Sub(at) >= ackTimeout {
		return
	}
	if since, ok := w.served[servedAt{id.service, id.at}]; w.moved[id] || ok && w.d.now.Sub(since) >= ackTimeout {
		return
	}
	for _, e := range w.clients {
		if e.clientType != wire.Envoy {
			continue
		}
		for _, state := range e.states(w.d.now) {
			if svc := state[id.service]; svc == nil || !served(svc)[id.at] {
				t.Fatalf("an extproc may choose %s at %s, an Envoy has %v: %s", id.pod, id.at, svc, w)
			}
		}
	}
}

func sorted(m state.Model) state.Model {
	m = clone(m)
	slices.SortFunc(m.Services, func(a, b *state.ServiceView) int { return cmpNames(a.Name, b.Name) })
	return m
}

func cmpNames(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

func drawModel(t *rapid.T) state.Model {
	m := state.Model{Gateway: testGateway()}
	for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"chat", "rooms"}), rapid.ID).Draw(t, "services") {
		view := &state.ServiceView{Service: testService(name)}
		view.Session.IdleTimeout = time.Duration(rapid.IntRange(1, 2).Draw(t, "policy")) * time.Minute
		used := map[uint16]bool{}
		for _, pod := range rapid.SliceOfDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), rapid.ID).Draw(t, "pods") {
			port := rapid.Uint16Range(1, 4).Filter(func(p uint16) bool { return !used[p] }).Draw(t, "port")
			used[port] = true
			is := rapid.SampledFrom([]statefulroute.PodState{statefulroute.Ready, statefulroute.Ready, statefulroute.Draining, statefulroute.Unhealthy, statefulroute.Maintenance}).Draw(t, "state")
			view.Members = append(view.Members, state.Member{
				Pod: inState(testPod(pod, port), is), EffectiveWeight: rapid.Uint32Range(1, 3).Draw(t, "weight"),
			})
		}
		m.Services = append(m.Services, view)
	}
	return m
}
