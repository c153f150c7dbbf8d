package state

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// ErrUnknownPod means that no such service or pod exists at the moment.
var ErrUnknownPod = errors.New("unknown pod")

// ErrOtherSource means that pods came from a source that the service no longer
// has.
var ErrOtherSource = errors.New("the pods of the service come from elsewhere now")

// Desk gathers what each owner says of the pods: their source (which exist),
// the operator (drain, maintenance), the health checks and the load. Model is
// the sum. It is pure and not safe for concurrent use.
//
// Whatever is said of one service touches that service alone: an edit costs what
// the touched services cost, however many others there are.
type Desk struct {
	gateway  Gateway
	layout   *layout        // in the order of the configuration
	views    []*ServiceView // of the layout's services, as of the last settle; replaced, never changed
	services map[string]*deskService

	touched map[string]struct{} // since the last settle
	undo    *deskUndo           // between begin and commit or rollback
	facts   uint64              // the last ServiceView.facts that was given
	ordered bool                // orders may differ since the last edit
}

// deskUndo is what a rollback puts back.
type deskUndo struct {
	gateway  Gateway
	layout   *layout
	views    []*ServiceView
	ordered  bool
	services map[string]*deskService // nil for those that were not there
}

// deskService is what is said of one service.
type deskService struct {
	spec     *statefulroute.Service // replaced when it differs, never changed
	pods     []statefulroute.Pod    // replaced, never changed
	answered bool                   // the source has named its pods, if only none
	index    *podIndex              // of pods
	facts    map[string]podFacts    // by pod
	orders   map[string]order       // by pod
	view     *ServiceView           // as of the last settle
}

type podFacts struct {
	down   bool   // health checks say so
	avoid  bool   // and that new sessions had better go elsewhere
	weight uint32 // 0: use the configured one
}

// HealthVerdict is what the health checks say of a pod.
type HealthVerdict struct {
	Healthy bool
	// Avoid asks for new sessions to go elsewhere: see health.Health.
	Avoid bool
}

// NewDesk returns an empty desk.
func NewDesk() *Desk {
	return &Desk{layout: newLayout(nil), services: map[string]*deskService{}, touched: map[string]struct{}{}}
}

// Edit makes a change, and takes it back should it fail or check refuse what comes
// of it.
func (d *Desk) Edit(change func(*Desk) error, check func(Model, Change) error) (Change, error) {
	d.begin()
	if err := change(d); err != nil {
		d.rollback()
		return Change{}, err
	}
	done := d.settle()
	if err := check(d.model(), done); err != nil {
		d.rollback()
		return Change{}, err
	}
	d.undo = nil
	done.Orders, d.ordered = d.ordered, false
	return done, nil
}

// begin starts a change that rollback can take back.
func (d *Desk) begin() {
	d.undo = &deskUndo{gateway: d.gateway, layout: d.layout, views: d.views, ordered: d.ordered, services: map[string]*deskService{}}
}

func (d *Desk) rollback() {
	d.gateway, d.layout, d.views, d.ordered = d.undo.gateway, d.undo.layout, d.undo.views, d.undo.ordered
	for name, s := range d.undo.services {
		if s == nil {
			delete(d.services, name)
		} else {
			d.services[name] = s
		}
	}
	clear(d.touched)
	d.undo = nil
}

// touch returns a service for writing; nil if there is none.
func (d *Desk) touch(name string) *deskService {
	s := d.services[name]
	if d.undo != nil {
		if _, saved := d.undo.services[name]; !saved {
			d.undo.services[name] = s
			if s != nil {
				s = s.clone()
				d.services[name] = s
			}
		}
	}
	d.touched[name] = struct{}{}
	return s
}

func (s *deskService) clone() *deskService {
	out := *s
	out.facts, out.orders = maps.Clone(s.facts), maps.Clone(s.orders)
	return &out
}

// SetConfig replaces the gateway and the services. Pods of static sources are
// taken from it; those of other sources stay as they are until SetPods.
func (d *Desk) SetConfig(now time.Time, g Gateway, services []statefulroute.Service) {
	d.gateway = g
	names := make([]string, len(services))
	for i, svc := range services {
		names[i] = svc.Name
		d.setService(now, svc)
	}
	next := newLayout(names)
	for _, name := range d.layout.names {
		if _, ok := next.places[name]; !ok {
			left := d.touch(name) // also where it is known that orders changed
			d.ordered = d.ordered || len(left.orders) > 0
			delete(d.services, name)
		}
	}
	if !slices.Equal(names, d.layout.names) {
		d.layout, d.views, d.ordered = next, nil, true
	}
}

func (d *Desk) setService(now time.Time, svc statefulroute.Service) {
	if have := d.services[svc.Name]; have != nil && reflect.DeepEqual(*have.spec, svc) {
		return
	}
	s := d.touch(svc.Name)
	if s == nil {
		s = &deskService{index: newPodIndex(nil), facts: map[string]podFacts{}, orders: map[string]order{}}
		d.services[svc.Name] = s
	}
	s.spec = &svc
	if svc.Pods.Static != nil {
		d.setPods(now, s, svc.Pods.Static)
	}
	if svc.Balancing.FixedWeights {
		for pod, f := range s.facts { // back to the configured weights
			f.weight = 0
			s.facts[pod] = f
		}
	}
}

// SetPods replaces the pods of a service, as they are found at a source. It must
// be the one the service has: what was looked up there while the service was
// given another one is ErrOtherSource, and changes nothing.
func (d *Desk) SetPods(now time.Time, service string, from statefulroute.PodSource, pods []statefulroute.Pod) error {
	have := d.services[service]
	if have == nil {
		return fmt.Errorf("service %q: %w", service, ErrUnknownPod)
	}
	if !reflect.DeepEqual(have.spec.Pods, from) {
		return fmt.Errorf("service %q: %w", service, ErrOtherSource)
	}
	if have.answered && slices.Equal(have.pods, pods) && len(have.orders) == 0 {
		return nil
	}
	d.setPods(now, d.touch(service), pods)
	return nil
}

// setPods forgets what was found of pods that are gone: a pod that comes back
// under the name starts afresh. Orders may stay a while.
func (d *Desk) setPods(now time.Time, s *deskService, pods []statefulroute.Pod) {
	if !s.answered || !slices.Equal(s.pods, pods) {
		s.pods, s.answered = pods, true
		s.index = indexOf(pods)
	}
	maps.DeleteFunc(s.facts, func(pod string, _ podFacts) bool { return !s.index.has(pod) })
	d.ageOrders(now, s)
}

func indexOf(pods []statefulroute.Pod) *podIndex {
	members := make([]Member, len(pods))
	for i, p := range pods {
		members[i].Pod = p
	}
	return newPodIndex(members)
}

// SetHealth is what the health checks found.
func (d *Desk) SetHealth(service, pod string, v HealthVerdict) error {
	return d.change(service, pod, func(f *podFacts) { f.down, f.avoid = !v.Healthy, v.Avoid })
}

// SetWeight is what the load made of a pod's weight; 0 means the configured one.
// It is ignored where load does not change weights.
func (d *Desk) SetWeight(service, pod string, weight uint32) error {
	if s := d.services[service]; s != nil && s.spec.Balancing.FixedWeights {
		return nil
	}
	return d.change(service, pod, func(f *podFacts) { f.weight = weight })
}

func (d *Desk) change(service, pod string, edit func(*podFacts)) error {
	if err := d.mustHave(service, pod); err != nil {
		return err
	}
	had := d.services[service].facts[pod]
	f := had
	if edit(&f); f != had {
		d.touch(service).facts[pod] = f
	}
	return nil
}

func (d *Desk) mustHave(service, pod string) error {
	if s := d.services[service]; s == nil || !s.index.has(pod) {
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
	// Orders: those in force may be others.
	Orders bool
}

// settle brings the views of the touched services up to date.
func (d *Desk) settle() Change {
	var out Change
	for _, name := range slices.Sorted(maps.Keys(d.touched)) {
		s := d.services[name]
		if s == nil {
			out.Gone, out.Facts = append(out.Gone, name), true
			continue
		}
		before := s.view
		s.view = d.look(s)
		if s.view != before {
			out.Services = append(out.Services, s.view)
			out.Facts = out.Facts || before == nil || !s.view.SameButWeights(before)
		}
	}
	clear(d.touched)
	d.arrange(out.Services)
	return out
}

// arrange puts changed views into their places.
func (d *Desk) arrange(changed []*ServiceView) {
	switch {
	case d.views == nil: // other services, or another order
		d.views = make([]*ServiceView, len(d.layout.names))
		for i, name := range d.layout.names {
			d.views[i] = d.services[name].view
		}
	case len(changed) > 0:
		d.views = slices.Clone(d.views)
		for _, v := range changed {
			d.views[d.layout.places[v.Name]] = v
		}
	}
}

// look is the service as it is to be published; the view of before if that is
// still true.
func (d *Desk) look(s *deskService) *ServiceView {
	members := make([]Member, len(s.pods))
	facts := s.view != nil && s.view.spec == s.spec && s.view.index == s.index
	weights := facts
	for i, p := range s.pods {
		f, ordered := s.facts[p.Name], s.orders[p.Name].state
		p.State, p.Avoid = rank(ordered, f.down), f.avoid
		m := Member{Pod: p, EffectiveWeight: f.weight, Order: ordered, Down: f.down}
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
		d.facts++
		view.facts = d.facts
	}
	return view
}

// Model returns the services with their pods as they are to be published.
func (d *Desk) Model() Model {
	if d.undo == nil {
		d.settle()
	}
	return d.model()
}

func (d *Desk) model() Model { return Model{Gateway: d.gateway, Services: d.views, layout: d.layout} }

// rank weighs what was said: an operator's maintenance over a failed check,
// and that over a drain.
func rank(ordered statefulroute.PodState, down bool) statefulroute.PodState {
	switch {
	case ordered == statefulroute.Maintenance:
		return statefulroute.Maintenance
	case down:
		return statefulroute.Unhealthy
	default:
		return ordered
	}
}
