package xds

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/state"
)

// serviceRollout is one service on its way to its target. It is a function of
// where the clients are rather than a list of stages: each step brings both as
// near to the target as what is not answered yet allows, so that whatever changes
// in the middle has nothing to start over.
type serviceRollout struct {
	name    string
	target  *state.ServiceView // nil: the service is to go
	envoy   *state.ServiceView // what Envoys were last given; nil: nothing
	extproc *state.ServiceView // what extprocs were last given; nil: nothing
	synced  *state.ServiceView // the target that both have in full; nil: it is not so
	asked   time.Time          // when the oldest change that is not done was asked for

	// adding are the addresses that Envoys were told to serve and may not serve yet.
	adding map[netip.AddrPort]wait
	// removing are those that extprocs were told to choose no more and may still.
	removing map[netip.AddrPort]removal
	// policy is for Envoys to have the cluster and filters of a new policy.
	policy *wait
	// routing is for extprocs to know the service, unrouting for Envoys to have
	// forgotten its route.
	routing, unrouting *wait
	routed             bool
}

type removal struct {
	wait
	pod statefulroute.Pod
}

// step brings the clients nearer to the target.
func (s *serviceRollout) step(t *turn) []Publication {
	switch {
	case t.first && s.target != nil:
		return s.begin(t)
	case s.target == nil:
		return s.remove(t)
	case s.synced != nil && s.target.SameButWeights(s.synced):
		return s.updateWeights(t)
	}
	s.unrouting = nil
	s.endWaits(t)
	extproc := s.nextExtproc()
	s.noteRemoved(t, extproc)
	envoy := s.nextEnvoy(extproc)
	if s.envoy == nil || !s.envoy.SamePolicy(envoy) {
		s.renewPolicy(t)
	}
	s.noteAdded(t, envoy)
	if s.extproc == nil && extproc != nil {
		w := t.begin(wire.Extproc)
		s.routing = &w
	}
	pubs := append(s.publish(t, wire.Envoy, envoy), s.publish(t, wire.Extproc, extproc)...)
	s.finishStep(t)
	return pubs
}

// finishStep gives the service its route once extprocs know it, and notes when nothing
// is left to do.
func (s *serviceRollout) finishStep(t *turn) {
	if s.extproc != nil && s.routing == nil && !s.routed {
		s.routed, t.reshare = true, true
	}
	s.synced = nil
	if len(s.adding)+len(s.removing) == 0 && s.policy == nil && s.routed && s.envoy == s.target {
		s.synced = s.target
	}
}

// begin is the first publication of all: nobody holds anything yet, so it is the
// target at once, or Envoys that come back to a restarted server would find their
// routes gone.
func (s *serviceRollout) begin(t *turn) []Publication {
	s.routed, t.reshare, s.synced = true, true, s.target
	return append(s.publish(t, wire.Envoy, s.target), s.publish(t, wire.Extproc, forExtprocs(s.target, s.target.Members))...)
}

// updateWeights goes the short way of what changes every second: extprocs hear nothing
// of it.
func (s *serviceRollout) updateWeights(t *turn) []Publication {
	s.synced = s.target
	return s.publish(t, wire.Envoy, s.target)
}

// remove takes the route away, and then the service.
func (s *serviceRollout) remove(t *turn) []Publication {
	s.synced, s.routing = nil, nil
	if s.routed {
		w := t.begin(wire.Envoy)
		s.routed, s.unrouting, t.reshare = false, &w, true
		return nil
	}
	if s.unrouting != nil && t.now.Before(t.end(wire.Envoy, s.unrouting)) {
		return nil
	}
	s.unrouting, t.reshare = nil, s.envoy != nil
	return append(s.publish(t, wire.Envoy, nil), s.publish(t, wire.Extproc, nil)...)
}

func (s *serviceRollout) ended() bool { return s.target == nil && s.envoy == nil && s.extproc == nil }

// publish makes the publication of what differs from what the type of client has.
func (s *serviceRollout) publish(t *turn, to wire.ClientType, view *state.ServiceView) []Publication {
	last := &s.envoy
	if to == wire.Extproc {
		last = &s.extproc
	}
	if *last == view {
		return nil
	}
	if *last != nil && view != nil && (*last).SamePolicy(view) && slices.Equal((*last).Members, view.Members) {
		if to == wire.Envoy {
			*last = view // equal, and known to be the target
		}
		return nil
	}
	*last = view
	return []Publication{{To: to, Seq: t.seq[to], Asked: s.asked, Service: s.name, View: view}}
}

// endWaits forgets the waits that are over.
func (s *serviceRollout) endWaits(t *turn) {
	maps.DeleteFunc(s.adding, func(_ netip.AddrPort, w wait) bool { return t.over(wire.Envoy, w) })
	for at, l := range s.removing {
		end := t.end(wire.Extproc, &l.wait)
		s.removing[at] = l
		if !t.now.Before(end) {
			delete(s.removing, at)
		}
	}
	if s.policy != nil && t.over(wire.Envoy, *s.policy) {
		s.policy = nil
	}
	if s.routing != nil && t.over(wire.Extproc, *s.routing) {
		s.routing = nil
	}
}

// renewPolicy has extprocs wait for a policy that Envoys are given in this turn.
// What an earlier change waited for does not wait longer.
func (s *serviceRollout) renewPolicy(t *turn) {
	w := t.begin(wire.Envoy)
	if s.policy != nil && s.policy.by.Before(w.by) {
		w.by = s.policy.by
	}
	s.policy, t.reshare = &w, true
}

// nextExtproc is the target as far as Envoys can reach it: pods that nobody may
// be sent to as they are, and of the others those at addresses that Envoys serve.
// A pod that is only known elsewhere stays where it was.
func (s *serviceRollout) nextExtproc() *state.ServiceView {
	if s.envoy == nil || s.extproc == nil && s.policy != nil {
		return s.extproc
	}
	served, before := served(s.envoy), s.knownToExtprocs()
	var owner map[netip.AddrPort]string
	members := make([]state.Member, 0, len(s.target.Members))
	for _, m := range s.target.Members {
		_, adding := s.adding[m.Address]
		if !m.State.ServesBound() || served[m.Address] && !adding {
			members = append(members, m)
			continue
		}
		had, known := before[m.Name]
		if !known {
			continue
		}
		if owner == nil {
			owner = owners(s.target)
		}
		if had.State.ServesBound() {
			// Its address is another pod's now: better none of its requests for a moment
			// than one at the other pod.
			if other, taken := owner[had.Address]; taken && other != m.Name {
				members = append(members, m)
				continue
			}
			had.State = m.State
		}
		members = append(members, had)
	}
	return forExtprocs(s.policyForExtprocs(), members)
}

// policyForExtprocs is the target's once Envoys have it.
func (s *serviceRollout) policyForExtprocs() *state.ServiceView {
	if s.extproc != nil && (s.policy != nil || !s.envoy.SamePolicy(s.target)) {
		return s.extproc
	}
	return s.target
}

func (s *serviceRollout) knownToExtprocs() map[string]state.Member {
	known := map[string]state.Member{}
	if s.extproc != nil {
		for _, m := range s.extproc.Members {
			known[m.Name] = m
		}
	}
	return known
}

// forExtprocs is a view without what extprocs are not told.
func forExtprocs(policy *state.ServiceView, members []state.Member) *state.ServiceView {
	out := make([]state.Member, len(members))
	for i, m := range members {
		out[i] = state.Member{Pod: m.Pod}
	}
	return policy.WithMembers(out)
}

// served are the addresses that Envoys send bound sessions to.
func served(v *state.ServiceView) map[netip.AddrPort]bool {
	out := make(map[netip.AddrPort]bool, len(v.Members))
	for _, m := range v.Members {
		if m.State.ServesBound() {
			out[m.Address] = true
		}
	}
	return out
}

func owners(v *state.ServiceView) map[netip.AddrPort]string {
	out := make(map[netip.AddrPort]string, len(v.Members))
	for _, m := range v.Members {
		out[m.Address] = m.Name
	}
	return out
}

// noteRemoved notes the addresses that extprocs choose no more after this turn.
func (s *serviceRollout) noteRemoved(t *turn, next *state.ServiceView) {
	if s.extproc == nil || next == s.extproc {
		return
	}
	chosen := served(next)
	for at := range chosen {
		delete(s.removing, at)
	}
	for _, m := range s.extproc.Members {
		if !m.State.ServesBound() || chosen[m.Address] {
			continue
		}
		if s.removing == nil {
			s.removing = map[netip.AddrPort]removal{}
		}
		s.removing[m.Address] = removal{t.begin(wire.Extproc), m.Pod}
	}
}

// nextEnvoy is the target and, draining, whatever extprocs choose or may still
// choose. It is the target itself when there is nothing else.
func (s *serviceRollout) nextEnvoy(extproc *state.ServiceView) *state.ServiceView {
	kept := map[netip.AddrPort]statefulroute.Pod{}
	for at, l := range s.removing {
		kept[at] = l.pod
	}
	if extproc != nil {
		for _, m := range extproc.Members {
			if m.State.ServesBound() {
				kept[m.Address] = m.Pod
			}
		}
	}
	members := slices.Clone(s.target.Members)
	same := true
	for i, m := range members {
		if _, ok := kept[m.Address]; ok && !m.State.ServesBound() {
			members[i].State, same = statefulroute.Draining, false
		}
		delete(kept, m.Address)
	}
	if same && len(kept) == 0 {
		return s.target
	}
	gone := slices.SortedFunc(maps.Values(kept), func(a, b statefulroute.Pod) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.Address.Compare(b.Address))
	})
	for _, p := range gone {
		p.State = statefulroute.Draining
		// A draining pod gets nothing by weight.
		members = append(members, state.Member{Pod: p, EffectiveWeight: 1})
	}
	return s.target.WithMembers(members)
}

// noteAdded notes the addresses that Envoys serve from this turn on.
func (s *serviceRollout) noteAdded(t *turn, next *state.ServiceView) {
	now := served(next)
	maps.DeleteFunc(s.adding, func(at netip.AddrPort, _ wait) bool { return !now[at] })
	var before map[netip.AddrPort]bool
	if s.envoy != nil {
		before = served(s.envoy)
	}
	for at := range now {
		if before[at] {
			continue
		}
		if s.adding == nil {
			s.adding = map[netip.AddrPort]wait{}
		}
		s.adding[at] = t.begin(wire.Envoy)
	}
}

// policyView is the service's policy as Envoys have it, and whether it has a route.
func (s *serviceRollout) policyView() *state.ServiceView {
	view := s.envoy.WithMembers(nil)
	view.Unrouted = !s.routed
	return view
}

// waits reports whether something is waited for, and tells the turn until when.
func (s *serviceRollout) waits(t *turn) bool {
	for _, w := range s.adding {
		t.wakeAt(w.by)
	}
	for _, l := range s.removing {
		t.wakeAt(t.end(wire.Extproc, &l.wait))
	}
	for _, w := range []*wait{s.policy, s.routing} {
		if w != nil {
			t.wakeAt(w.by)
		}
	}
	if s.unrouting != nil {
		t.wakeAt(t.end(wire.Envoy, s.unrouting))
	}
	return len(s.adding)+len(s.removing) > 0 || s.policy != nil || s.routing != nil || s.unrouting != nil
}
