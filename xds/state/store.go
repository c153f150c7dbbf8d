package state

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/xds/secret"
)

// ErrUnknownPod means that no such service or pod exists at the moment.
var ErrUnknownPod = errors.New("unknown pod")

// ErrOtherSource means that pods came from a source that the service no longer
// has.
var ErrOtherSource = errors.New("the pods of the service come from elsewhere now")

// Store gathers what each owner says of the pods: their source (which exist),
// the operator (drain, maintenance), the health checks and the load. Model is
// the sum. It is pure and not safe for concurrent use.
//
// Whatever is said of one service touches that service alone: an edit costs what
// the touched services cost, however many others there are.
type Store struct {
	gateway  Gateway
	layout   *layout        // in the order of the configuration
	views    []*ServiceView // of the layout's services, as of the last update of the views; replaced, never changed
	services map[string]*serviceState

	touched          map[string]struct{} // since the last update of the views
	undo             *undo               // between begin and commit or rollback
	facts            uint64              // the last ServiceView.facts that was given
	overridesChanged bool                // overrides may differ since the last edit
}

// undo is what a rollback puts back.
type undo struct {
	gateway          Gateway
	layout           *layout
	views            []*ServiceView
	overridesChanged bool
	services         map[string]*serviceState // nil for those that were not there
}

// serviceState is what is said of one service.
type serviceState struct {
	spec      *statefulroute.Service // replaced when it differs, never changed
	pods      []statefulroute.Pod    // replaced, never changed
	answered  bool                   // the source has named its pods, if only none
	index     *podIndex              // of pods
	facts     map[string]podFacts    // by pod
	overrides map[string]override    // by pod
	view      *ServiceView           // as of the last update of the views
}

type podFacts struct {
	down   bool   // health checks say so
	avoid  bool   // and that new sessions had better go elsewhere
	weight uint32 // 0: use the configured one
}

// HealthVerdict is what the health checks say of a pod.
type HealthVerdict struct {
	Healthy bool
	// Avoid asks for new sessions to go elsewhere: see health.Checker.
	Avoid bool
}

// NewStore returns an empty store.
func NewStore() *Store {
	return &Store{layout: newLayout(nil), services: map[string]*serviceState{}, touched: map[string]struct{}{}}
}

// Edit makes a change, and takes it back should it fail or check refuse what comes
// of it.
func (st *Store) Edit(change func(*Store) error, check func(Model, Change) error) (Change, error) {
	st.begin()
	if err := change(st); err != nil {
		st.rollback()
		return Change{}, err
	}
	done := st.updateViews()
	if err := check(st.model(), done); err != nil {
		st.rollback()
		return Change{}, err
	}
	st.undo = nil
	done.Overrides, st.overridesChanged = st.overridesChanged, false
	return done, nil
}

// begin starts a change that rollback can take back.
func (st *Store) begin() {
	st.undo = &undo{gateway: st.gateway, layout: st.layout, views: st.views, overridesChanged: st.overridesChanged, services: map[string]*serviceState{}}
}

func (st *Store) rollback() {
	st.gateway, st.layout, st.views, st.overridesChanged = st.undo.gateway, st.undo.layout, st.undo.views, st.undo.overridesChanged
	for name, s := range st.undo.services {
		if s == nil {
			delete(st.services, name)
		} else {
			st.services[name] = s
		}
	}
	clear(st.touched)
	st.undo = nil
}

// touch returns a service for writing; nil if there is none.
func (st *Store) touch(name string) *serviceState {
	s := st.services[name]
	if st.undo != nil {
		if _, saved := st.undo.services[name]; !saved {
			st.undo.services[name] = s
			if s != nil {
				s = s.clone()
				st.services[name] = s
			}
		}
	}
	st.touched[name] = struct{}{}
	return s
}

func (s *serviceState) clone() *serviceState {
	out := *s
	out.facts, out.overrides = maps.Clone(s.facts), maps.Clone(s.overrides)
	return &out
}

// SetConfig replaces the gateway and the services. Pods of static sources are
// taken from it; those of other sources stay as they are until SetPods.
func (st *Store) SetConfig(now time.Time, g Gateway, services []statefulroute.Service) {
	st.gateway = g
	names := make([]string, len(services))
	for i, svc := range services {
		names[i] = svc.Name
		st.setService(now, svc)
	}
	next := newLayout(names)
	for _, name := range st.layout.names {
		if _, ok := next.places[name]; !ok {
			left := st.touch(name) // also where it is known that overrides changed
			st.overridesChanged = st.overridesChanged || len(left.overrides) > 0
			delete(st.services, name)
		}
	}
	if !slices.Equal(names, st.layout.names) {
		st.layout, st.views, st.overridesChanged = next, nil, true
	}
}

func (st *Store) setService(now time.Time, svc statefulroute.Service) {
	if have := st.services[svc.Name]; have != nil && reflect.DeepEqual(*have.spec, svc) {
		return
	}
	s := st.touch(svc.Name)
	if s == nil {
		s = &serviceState{index: newPodIndex(nil), facts: map[string]podFacts{}, overrides: map[string]override{}}
		st.services[svc.Name] = s
	}
	s.spec = &svc
	if svc.Pods.Static != nil {
		st.setPods(now, s, svc.Pods.Static)
	}
	if svc.Balancing.FixedWeights {
		for pod, f := range s.facts { // back to the configured weights
			f.weight = 0
			s.facts[pod] = f
		}
	}
}

// SetSecrets replaces the secrets, of which the configuration names the same as before.
func (st *Store) SetSecrets(secrets map[string]*secret.Secret) { st.gateway.Secrets = secrets }

// SetPods replaces the pods of a service, as they are found at a source. It must
// be the one the service has: what was looked up there while the service was
// given another one is ErrOtherSource, and changes nothing.
func (st *Store) SetPods(now time.Time, service string, from statefulroute.PodSource, pods []statefulroute.Pod) error {
	have := st.services[service]
	if have == nil {
		return fmt.Errorf("service %q: %w", service, ErrUnknownPod)
	}
	if !reflect.DeepEqual(have.spec.Pods, from) {
		return fmt.Errorf("service %q: %w", service, ErrOtherSource)
	}
	if have.answered && slices.Equal(have.pods, pods) && len(have.overrides) == 0 {
		return nil
	}
	st.setPods(now, st.touch(service), pods)
	return nil
}

// setPods forgets what was found of pods that are gone: a pod that comes back
// under the name starts afresh. Overrides may stay a while.
func (st *Store) setPods(now time.Time, s *serviceState, pods []statefulroute.Pod) {
	if !s.answered || !slices.Equal(s.pods, pods) {
		s.pods, s.answered = pods, true
		s.index = indexOf(pods)
	}
	maps.DeleteFunc(s.facts, func(pod string, _ podFacts) bool { return !s.index.has(pod) })
	st.expireOverrides(now, s)
}

func indexOf(pods []statefulroute.Pod) *podIndex {
	members := make([]Member, len(pods))
	for i, p := range pods {
		members[i].Pod = p
	}
	return newPodIndex(members)
}

// SetHealth is what the health checks found.
func (st *Store) SetHealth(service, pod string, v HealthVerdict) error {
	return st.change(service, pod, func(f *podFacts) { f.down, f.avoid = !v.Healthy, v.Avoid })
}

// SetWeight is what the load made of a pod's weight; 0 means the configured one.
// It is ignored where load does not change weights.
func (st *Store) SetWeight(service, pod string, weight uint32) error {
	if s := st.services[service]; s != nil && s.spec.Balancing.FixedWeights {
		return nil
	}
	return st.change(service, pod, func(f *podFacts) { f.weight = weight })
}

func (st *Store) change(service, pod string, edit func(*podFacts)) error {
	if err := st.mustHave(service, pod); err != nil {
		return err
	}
	had := st.services[service].facts[pod]
	f := had
	if edit(&f); f != had {
		st.touch(service).facts[pod] = f
	}
	return nil
}

func (st *Store) mustHave(service, pod string) error {
	if s := st.services[service]; s == nil || !s.index.has(pod) {
		return fmt.Errorf("pod %q of service %q: %w", pod, service, ErrUnknownPod)
	}
	return nil
}

// Change is what came of an edit.
type Change struct {
	// Services are the new views, of new services as well.
	Services []*ServiceView
	Gone     []string
	// Facts: something else than weights changed.
	Facts bool
	// Overrides: those in force may be others.
	Overrides bool
}

// updateViews brings the views of the touched services up to date.
func (st *Store) updateViews() Change {
	var out Change
	for _, name := range slices.Sorted(maps.Keys(st.touched)) {
		s := st.services[name]
		if s == nil {
			out.Gone, out.Facts = append(out.Gone, name), true
			continue
		}
		before := s.view
		s.view = st.viewOf(s)
		if s.view != before {
			out.Services = append(out.Services, s.view)
			out.Facts = out.Facts || before == nil || !s.view.SameButWeights(before)
		}
	}
	clear(st.touched)
	st.arrangeViews(out.Services)
	return out
}

// arrangeViews puts changed views into their places.
func (st *Store) arrangeViews(changed []*ServiceView) {
	switch {
	case st.views == nil: // other services, or another order
		st.views = make([]*ServiceView, len(st.layout.names))
		for i, name := range st.layout.names {
			st.views[i] = st.services[name].view
		}
	case len(changed) > 0:
		st.views = slices.Clone(st.views)
		for _, v := range changed {
			st.views[st.layout.places[v.Name]] = v
		}
	}
}

// viewOf is the service as it is to be published; the view of before if that is
// still true.
func (st *Store) viewOf(s *serviceState) *ServiceView {
	members := make([]Member, len(s.pods))
	facts := s.view != nil && s.view.spec == s.spec && s.view.index == s.index
	weights := facts
	for i, p := range s.pods {
		f, word := s.facts[p.Name], s.overrides[p.Name].state
		p.State, p.Avoid = rank(word, f.down), f.avoid
		m := Member{Pod: p, EffectiveWeight: f.weight, Override: word, Down: f.down}
		if f.weight == 0 {
			m.EffectiveWeight = p.Weight
		}
		members[i] = m
		if weights && m != s.view.Members[i] {
			weights = false
		}
		if facts {
			before := s.view.Members[i]
			before.EffectiveWeight = m.EffectiveWeight
			facts = m == before
		}
	}
	if facts && weights {
		return s.view
	}
	view := &ServiceView{Service: *s.spec, Members: members, spec: s.spec, index: s.index}
	if facts {
		view.facts = s.view.facts
	} else {
		st.facts++
		view.facts = st.facts
	}
	return view
}

// Model returns the services with their pods as they are to be published.
func (st *Store) Model() Model {
	if st.undo == nil {
		st.updateViews()
	}
	return st.model()
}

func (st *Store) model() Model {
	return Model{Gateway: st.gateway, Services: st.views, layout: st.layout}
}

// rank weighs what was said: an operator's maintenance over a failed check,
// and that over a drain.
func rank(word statefulroute.PodState, down bool) statefulroute.PodState {
	switch {
	case word == statefulroute.Maintenance:
		return statefulroute.Maintenance
	case down:
		return statefulroute.Unhealthy
	default:
		return word
	}
}
