package xds

import (
	"maps"
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/state"
)

// Rollout publishes changes to Envoys and to extprocs, make before break. With
// envoy(t) the addresses that every Envoy can reach at the time t, and extproc(t)
// those that an extproc may choose, the invariant is
//
//	envoy(t) ⊇ extproc(t) at every instant t
//
// Each service changes by itself, and each of its addresses as well:
//
//   - Add: Envoys get a new address first. Extprocs are told of it after Envoys have
//     acknowledged it. A pod that recovered and a new policy are added in the same way.
//   - Switch: a pod that moved is chosen at its new address once that is added. The
//     old address is removed from then on.
//   - Remove: extprocs are told at once that an address is gone, or that its pod fails
//     or drains. Envoys get the pod as draining in the same moment, so that they send
//     nothing new to it. They lose the address after the extprocs have acknowledged
//     that, and a grace later: what an extproc chose just before may still be on its
//     way for as long as Envoy waits for an answer.
//   - A service gets its route after extprocs know the service, and loses it first.
//
// Every publication to one type of client has a number. A wait is for the answers to
// one number. It ends at a time that is set when it begins, and later changes do not
// begin it anew: every client has a change within AckTimeout, whatever others do.
//
// Rollout is pure. The zero value waits for nobody.
type Rollout struct {
	// AckTimeout bounds each wait for answers.
	AckTimeout time.Duration

	target   state.Model
	services map[string]*serviceRollout
	active   map[string]*serviceRollout // those with something to do or to wait for
	seq      [2]uint64                  // the last number by type of client
	shared   time.Time                  // since when the shared resources are to be made anew; zero: they are right
	started  bool
}

// Publication is what to give to one type of client: a service, its end, or, to
// Envoys, what the services share.
type Publication struct {
	To wire.ClientType
	// Seq counts the publications to the type of client. Those of one call of Next have
	// the same.
	Seq uint64
	// Asked is when the change that it comes of was asked for.
	Asked time.Time
	// Service is what View is of; a nil View ends it. Empty: Shared is meant.
	Service string
	View    *state.ServiceView
	// Shared holds the services' policies and which of them have routes.
	Shared state.Model
}

// Progress is how far one type of client is with its answers.
type Progress struct {
	// Acked is the last publication that was answered by everybody who is waited
	// for.
	Acked uint64
	// LagsAt is when a client that has not answered will not be waited for any
	// longer; zero: there is none.
	LagsAt time.Time
	// ExpectedUntil is until when clients that were there may come back, if none is; zero:
	// nobody is expected.
	ExpectedUntil time.Time
}

// AllAcked is the progress of one type of client that owes no answer.
const AllAcked = math.MaxUint64

// Set makes model what the rollout leads to. Of the services in it those in
// changed may differ from before, and those in gone are no longer in it.
func (r *Rollout) Set(now time.Time, model state.Model, changed []*state.ServiceView, gone []string) {
	if r.services == nil {
		r.services, r.active = map[string]*serviceRollout{}, map[string]*serviceRollout{}
		r.reshare(now)
	}
	if !r.target.SameServices(model) || !reflect.DeepEqual(r.target.Gateway, model.Gateway) {
		r.reshare(now)
	}
	r.target = model
	for _, svc := range changed {
		s := r.services[svc.Name]
		if s == nil {
			s = &serviceRollout{name: svc.Name}
			r.services[svc.Name] = s
		}
		s.target = svc
		r.activate(now, s)
	}
	for _, name := range gone {
		if s := r.services[name]; s != nil {
			s.target = nil
			r.activate(now, s)
		}
	}
}

func (r *Rollout) activate(now time.Time, s *serviceRollout) {
	r.active[s.name] = s
	if s.asked.IsZero() {
		s.asked = now
	}
}

func (r *Rollout) reshare(asked time.Time) {
	if r.shared.IsZero() {
		r.shared = asked
	}
}

// Idle reports whether both types of client were given the target, and nothing is
// waited for.
func (r *Rollout) Idle() bool { return len(r.active) == 0 && r.shared.IsZero() }

// Next returns what to publish now, Envoys first; the caller publishes it before
// it asks again. wake is when to ask again even if nobody answers; zero means only
// after Set.
func (r *Rollout) Next(now time.Time, progress func(wire.ClientType) Progress) (pubs []Publication, wake time.Time) {
	if r.Idle() {
		return nil, time.Time{}
	}
	t := turn{
		now: now, ackTimeout: r.AckTimeout, grace: r.target.Gateway.MessageTimeout, first: !r.started,
		seq:      [2]uint64{r.seq[wire.Envoy] + 1, r.seq[wire.Extproc] + 1},
		progress: [2]Progress{progress(wire.Envoy), progress(wire.Extproc)},
	}
	r.started = true
	var told [2][]Publication
	for _, name := range slices.Sorted(maps.Keys(r.active)) {
		s := r.active[name]
		for _, p := range s.step(&t) {
			told[p.To] = append(told[p.To], p)
		}
		if t.reshare {
			r.reshare(s.asked)
			t.reshare = false
		}
		r.finish(s, &t)
	}
	if !r.shared.IsZero() {
		told[wire.Envoy] = append(told[wire.Envoy], Publication{To: wire.Envoy, Seq: t.seq[wire.Envoy], Asked: r.shared, Shared: r.sharedModel()})
		r.shared = time.Time{}
	}
	for a, list := range told {
		if len(list) > 0 {
			r.seq[a]++
		}
	}
	if !t.wake.IsZero() {
		t.wakeAt(t.progress[wire.Envoy].LagsAt)
		t.wakeAt(t.progress[wire.Extproc].LagsAt)
	}
	return append(told[wire.Envoy], told[wire.Extproc]...), t.wake
}

// finish takes a service with nothing left to do out of the active ones.
func (r *Rollout) finish(s *serviceRollout, t *turn) {
	switch {
	case s.ended():
		delete(r.services, s.name)
	case s.waits(t):
		return
	}
	s.asked = time.Time{}
	delete(r.active, s.name)
}

// sharedModel is what listener and routes are made of: the services as Envoys
// have them, those that go away after the others and without a route.
func (r *Rollout) sharedModel() state.Model {
	m := state.Model{Gateway: r.target.Gateway, Services: make([]*state.ServiceView, 0, len(r.services))}
	for _, svc := range r.target.Services {
		if s := r.services[svc.Name]; s != nil && s.envoy != nil {
			m.Services = append(m.Services, s.policyView())
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.services)) {
		if !r.target.HasService(name) && r.services[name].envoy != nil {
			m.Services = append(m.Services, r.services[name].policyView())
		}
	}
	return m
}

// turn is what the services' steps of one call of Next have in common.
type turn struct {
	now        time.Time
	ackTimeout time.Duration
	grace      time.Duration
	first      bool
	seq        [2]uint64 // of what is published in this turn
	progress   [2]Progress

	reshare bool      // the shared resources are to be made anew
	wake    time.Time // the earliest end of a wait; zero: none
}

func (t *turn) wakeAt(at time.Time) {
	if !at.IsZero() && (t.wake.IsZero() || at.Before(t.wake)) {
		t.wake = at
	}
}

// wait is for the answers of one type of client to one publication.
type wait struct {
	seq uint64
	by  time.Time // its end, answered or not
	// answered is when the answers were first seen to be there, where something
	// comes after them.
	answered time.Time
}

// begin returns a wait for what is published to the type of client in this turn.
func (t *turn) begin(to wire.ClientType) wait {
	return wait{seq: t.seq[to], by: t.now.Add(t.ackTimeout)}
}

// over reports whether the wait has ended.
func (t *turn) over(to wire.ClientType, w wait) bool {
	return t.progress[to].Acked >= w.seq || !t.now.Before(w.by)
}

// end is when what the wait holds up may be done: a grace after the answers, and
// without them when the wait ends. While nobody is there to answer, but expected,
// it does not end.
func (t *turn) end(to wire.ClientType, w *wait) time.Time {
	p := t.progress[to]
	if w.answered.IsZero() && p.Acked >= w.seq {
		w.answered = t.now
	}
	if !w.answered.IsZero() {
		return w.answered.Add(t.grace)
	}
	if p.ExpectedUntil.After(w.by) {
		return p.ExpectedUntil
	}
	return w.by
}
