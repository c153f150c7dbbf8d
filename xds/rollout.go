package xds

import (
	"net/netip"
	"reflect"
	"slices"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Audience is one of the two kinds of xDS client.
type Audience uint8

// Envoys route requests; Extprocs choose the pods they are routed to.
const (
	Envoys Audience = iota
	Extprocs
)

func (a Audience) String() string {
	if a == Extprocs {
		return "extproc"
	}
	return "envoy"
}

// Rollout brings a changed model to both audiences so that at every moment
// Envoy can reach whatever extproc may choose:
//
//	widen   Envoys get what is new, and keep what goes away, draining;
//	        extprocs forget pods whose address is another pod's now
//	switch  extprocs get the target, and keep services that go away
//	narrow  Envoys stop routing to what went away, but keep its clusters
//	finish  both get the target itself
//
// A stage begins when the audience of the one before has acknowledged it, or
// after Hold: a client that hangs must not stop the others. Narrowing waits a
// grace longer: a request that extproc answered a moment before it switched may
// still be on its way through Envoy, for as long as Envoy waits for an answer at
// most. A new target in the middle starts over from what the extprocs were last
// given. One that differs in weights only goes along with the stages to come: weights
// change every second, and beside a client that hangs no stage would ever end.
//
// Sessions of a removed pod must not reach the pod that has its address now:
// extprocs are told at once, not after an Envoy that may hang. A pod that only
// moved, be it to the address of another, is known to extprocs all the time.
//
// Rollout is pure; the zero value holds nothing back (Hold 0).
type Rollout struct {
	// Hold bounds the wait for acknowledgements of one stage.
	Hold time.Duration

	target  Model // what Set asked for
	extproc Model // what extprocs were last given
	envoy   Model // what Envoys were last given
	stage   stage
	since   time.Time // when the last stage was entered
	waiting bool      // the last stage published something
	settled time.Time // when its audience was first seen to have answered
	started bool
}

type stage uint8

const (
	idle stage = iota
	widen
	switched
	narrow
	finish
)

// Publication is a model to give to one audience.
type Publication struct {
	To    Audience
	Model Model
}

// Set makes target what the rollout leads to, and reports whether that is new.
func (r *Rollout) Set(target Model) bool {
	if r.started && reflect.DeepEqual(target, r.target) {
		return false
	}
	if r.stage == idle || !reflect.DeepEqual(withoutWeights(target), withoutWeights(r.target)) {
		r.stage, r.waiting = widen, false
	}
	r.target = target
	return true
}

func withoutWeights(m Model) Model {
	m = m.clone()
	for _, svc := range m.Services {
		for i := range svc.Members {
			svc.Members[i].EffectiveWeight = 0
		}
	}
	return m
}

// Idle reports whether both audiences were given the target.
func (r *Rollout) Idle() bool { return r.stage == idle }

// Next returns what to publish now. Without a publication, wake is when to ask
// again even if nobody acknowledges; zero means only after Set.
func (r *Rollout) Next(now time.Time, settled func(Audience) bool) (pubs []Publication, wake time.Time) {
	for r.stage != idle {
		if due := r.due(now, settled); now.Before(due) {
			return nil, due
		}
		if pubs := r.enter(now); len(pubs) > 0 {
			// The caller publishes before it asks again: settled does not know
			// of these yet.
			return pubs, now
		}
	}
	return nil, time.Time{}
}

// due is when the next stage may begin.
func (r *Rollout) due(now time.Time, settled func(Audience) bool) time.Time {
	if !r.waiting {
		return now
	}
	who, grace := Envoys, time.Duration(0)
	if r.stage == narrow {
		who, grace = Extprocs, r.target.Gateway.MessageTimeout
	}
	if r.settled.IsZero() && settled(who) {
		r.settled = now
	}
	if r.settled.IsZero() {
		return r.since.Add(r.Hold)
	}
	return r.settled.Add(grace)
}

// enter carries out the stage and moves on to the next; it publishes only what
// differs from what the audience has.
func (r *Rollout) enter(now time.Time) []Publication {
	if !r.started {
		// Nobody holds anything yet: the target at once, or Envoys that come
		// back to a restarted server would find their routes gone.
		r.started, r.stage = true, idle
		r.envoy, r.extproc = r.target, r.target
		return []Publication{{Extprocs, r.target}, {Envoys, r.target}}
	}
	pubs := r.carryOut()
	r.since, r.settled, r.waiting = now, time.Time{}, len(pubs) > 0
	return pubs
}

func (r *Rollout) carryOut() []Publication {
	switch r.stage {
	case widen:
		r.stage = switched
		told := r.give(Extprocs, withoutDisplaced(r.extproc, r.target))
		return append(told, r.give(Envoys, widened(r.target, r.extproc, r.envoy))...)
	case switched:
		r.stage = narrow
		return r.give(Extprocs, withRemoved(r.target, r.extproc, false))
	case narrow:
		r.stage = finish
		return r.give(Envoys, withRemoved(r.target, r.envoy, true))
	default:
		r.stage = idle
		return append(r.give(Extprocs, r.target), r.give(Envoys, r.target)...)
	}
}

func (r *Rollout) give(to Audience, m Model) []Publication {
	last := &r.envoy
	if to == Extprocs {
		last = &r.extproc
	}
	if reflect.DeepEqual(*last, m) {
		return nil
	}
	*last = m
	return []Publication{{to, m}}
}

// widened is the target with everything extprocs may still choose, and without
// routes to services Envoys have no cluster for yet.
func widened(target, extproc, envoy Model) Model {
	out := withRemoved(target, extproc, false)
	for i := range out.Services {
		svc := &out.Services[i]
		if had, ok := envoy.service(svc.Name); !ok || had.Unrouted {
			svc.Unrouted = true
		}
		if before, ok := extproc.service(svc.Name); ok {
			svc.Members = widenedMembers(svc.Members, before.Members)
		}
	}
	return out
}

// widenedMembers adds, as draining, the members extprocs may still send bound
// sessions to.
func widenedMembers(target, before []Member) []Member {
	out := append([]Member(nil), target...)
	at := make(map[netip.AddrPort]int, len(out))
	for i, m := range out {
		at[m.Address] = i
	}
	for _, m := range before {
		if !m.State.ServesBound() {
			continue
		}
		i, kept := at[m.Address]
		switch {
		case !kept:
			// A draining pod gets nothing by weight; its old weight could only take
			// the sum beyond what Envoy accepts.
			m.State, m.EffectiveWeight = statefulroute.Draining, 1
			out = append(out, m)
		case !out[i].State.ServesBound():
			out[i].State = statefulroute.Draining
		}
	}
	return out
}

// withoutDisplaced is have without the pods that the target lacks and whose
// address it gives to another pod.
func withoutDisplaced(have, target Model) Model {
	out := have.clone()
	for i := range out.Services {
		svc := &out.Services[i]
		after, _ := target.service(svc.Name)
		taken, stays := make(map[netip.AddrPort]bool, len(after.Members)), make(map[string]bool, len(after.Members))
		for _, m := range after.Members {
			taken[m.Address], stays[m.Name] = true, true
		}
		svc.Members = slices.DeleteFunc(svc.Members, func(m Member) bool { return taken[m.Address] && !stays[m.Name] })
	}
	return out
}

// withRemoved is the target and, after it, the services of have that it lacks.
func withRemoved(target, have Model, unrouted bool) Model {
	out := target.clone()
	for _, svc := range have.Services {
		if _, ok := target.service(svc.Name); !ok {
			svc.Unrouted = svc.Unrouted || unrouted
			out.Services = append(out.Services, svc)
		}
	}
	return out
}
