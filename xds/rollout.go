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

// Rollout brings changes to both audiences so that at every moment Envoys can
// reach whatever extprocs may choose. Each service goes its own way, and within
// it each address:
//
//   - What takes a choice from extprocs (a pod that fails, drains, is removed, or
//     lost its address to another) they are told at once. Envoys get the pod as
//     draining in the same moment, so that it is sent nothing new, and lose it
//     after the extprocs have answered: what they chose a moment before may still be
//     on its way, for as long as Envoy waits for an answer at most.
//   - What gives extprocs a choice (a new pod, a new address, one that recovered)
//     they are told after Envoys have answered that they can reach it.
//   - A service gets its route after extprocs know it, and loses it before
//     anything else.
//
// Every publication to an audience has a number. A wait is for the answers to one
// number, ends at a time that is set when it begins, and is not begun anew by what
// changes meanwhile: whatever clients do, a change is with all others within Hold.
//
// Rollout is pure; the zero value holds nothing back (Hold 0).
type Rollout struct {
	// Hold bounds each wait for answers.
	Hold time.Duration

	target   state.Model
	services map[string]*serviceRollout
	active   map[string]*serviceRollout // those with something to do or to wait for
	seq      [2]uint64                  // the last number by audience
	shared   time.Time                  // since when the shared resources are to be made anew; zero: they are right
	started  bool
}

// Publication is what to give to one audience: a service, its end, or, to
// Envoys, what the services share.
type Publication struct {
	To wire.Audience
	// Seq counts the audience's publications; those of one call of Next have the same.
	Seq uint64
	// Asked is when the change that it comes of was asked for.
	Asked time.Time
	// Service is what View is of; a nil View ends it. Empty: Shared is meant.
	Service string
	View    *state.ServiceView
	// Shared holds the services' policies and which of them have routes.
	Shared state.Model
}

// Progress is how far an audience is with its answers.
type Progress struct {
	// Through is the last publication that was answered by everybody who is waited
	// for.
	Through uint64
	// Again is when a client that has not answered will not be waited for any
	// longer; zero: there is none.
	Again time.Time
	// Absent is until when clients that were there may come back, if none is; zero:
	// nobody is expected.
	Absent time.Time
}

// AllAnswered is the progress of an audience that owes no answer.
const AllAnswered = math.MaxUint64

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

// Idle reports whether both audiences were given the target, and nothing is
// waited for.
func (r *Rollout) Idle() bool { return len(r.active) == 0 && r.shared.IsZero() }

// Next returns what to publish now, Envoys first; the caller publishes it before
// it asks again. wake is when to ask again even if nobody answers; zero means only
// after Set.
func (r *Rollout) Next(now time.Time, progress func(wire.Audience) Progress) (pubs []Publication, wake time.Time) {
	if r.Idle() {
		return nil, time.Time{}
	}
	t := turn{
		now: now, hold: r.Hold, grace: r.target.Gateway.MessageTimeout, first: !r.started,
		seq:      [2]uint64{r.seq[wire.Envoys] + 1, r.seq[wire.Extprocs] + 1},
		progress: [2]Progress{progress(wire.Envoys), progress(wire.Extprocs)},
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
		told[wire.Envoys] = append(told[wire.Envoys], Publication{To: wire.Envoys, Seq: t.seq[wire.Envoys], Asked: r.shared, Shared: r.sharedModel()})
		r.shared = time.Time{}
	}
	for a, list := range told {
		if len(list) > 0 {
			r.seq[a]++
		}
	}
	if !t.wake.IsZero() {
		t.wakeAt(t.progress[wire.Envoys].Again)
		t.wakeAt(t.progress[wire.Extprocs].Again)
	}
	return append(told[wire.Envoys], told[wire.Extprocs]...), t.wake
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
	now      time.Time
	hold     time.Duration
	grace    time.Duration
	first    bool
	seq      [2]uint64 // of what is published in this turn
	progress [2]Progress

	reshare bool      // the shared resources are to be made anew
	wake    time.Time // the earliest end of a wait; zero: none
}

func (t *turn) wakeAt(at time.Time) {
	if !at.IsZero() && (t.wake.IsZero() || at.Before(t.wake)) {
		t.wake = at
	}
}

// wait is for the answers of an audience to one publication.
type wait struct {
	seq uint64
	by  time.Time // its end, answered or not
	// answered is when the answers were first seen to be there, where something
	// comes after them.
	answered time.Time
}

// begin returns a wait for what is published to the audience in this turn.
func (t *turn) begin(to wire.Audience) wait { return wait{seq: t.seq[to], by: t.now.Add(t.hold)} }

// over reports whether the wait has ended.
func (t *turn) over(to wire.Audience, w wait) bool {
	return t.progress[to].Through >= w.seq || !t.now.Before(w.by)
}

// end is when what the wait holds up may be done: a grace after the answers, and
// without them when the wait ends. While nobody is there to answer, but expected,
// it does not end.
func (t *turn) end(to wire.Audience, w *wait) time.Time {
	p := t.progress[to]
	if w.answered.IsZero() && p.Through >= w.seq {
		w.answered = t.now
	}
	if !w.answered.IsZero() {
		return w.answered.Add(t.grace)
	}
	if p.Absent.After(w.by) {
		return p.Absent
	}
	return w.by
}
