package xds

import (
	"errors"
	"fmt"
	"maps"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// ErrUnknownPod means that no such service or pod exists at the moment.
var ErrUnknownPod = errors.New("unknown pod")

// Desk gathers what each owner says of the pods: their source (which exist),
// the operator (drain, maintenance), the health checks and the load. Model is
// the sum. It is pure and not safe for concurrent use.
type Desk struct {
	gateway  Gateway
	services []statefulroute.Service
	pods     map[string]podList // by service
	facts    map[podID]podFacts
	orders   map[podID]order
}

type podID struct{ service, pod string }

// podList is never changed, only replaced.
type podList struct {
	pods  []statefulroute.Pod
	names map[string]struct{}
}

func newPodList(pods []statefulroute.Pod) podList {
	l := podList{pods, make(map[string]struct{}, len(pods))}
	for _, p := range pods {
		l.names[p.Name] = struct{}{}
	}
	return l
}

func (l podList) has(pod string) bool {
	_, ok := l.names[pod]
	return ok
}

type podFacts struct {
	down   bool   // health checks say so
	weight uint32 // 0: use the configured one
}

// NewDesk returns an empty desk.
func NewDesk() *Desk {
	return &Desk{pods: map[string]podList{}, facts: map[podID]podFacts{}, orders: map[podID]order{}}
}

// SetConfig replaces the gateway and the services. Pods of static sources are
// taken from it; those of other sources stay as they are until SetPods.
func (d *Desk) SetConfig(now time.Time, g Gateway, services []statefulroute.Service) {
	d.gateway, d.services = g, services
	known := map[string]bool{}
	for _, svc := range services {
		known[svc.Name] = true
		if svc.Pods.Static != nil {
			d.setPods(now, svc, svc.Pods.Static)
		}
		if !Steers(svc.Balancing.Strategy) {
			d.forgetWeights(svc.Name)
		}
	}
	maps.DeleteFunc(d.pods, func(name string, _ podList) bool { return !known[name] })
	maps.DeleteFunc(d.facts, func(id podID, _ podFacts) bool { return !known[id.service] })
	maps.DeleteFunc(d.orders, func(id podID, _ order) bool { return !known[id.service] })
}

// forgetWeights brings a service's pods back to their configured weights.
func (d *Desk) forgetWeights(service string) {
	for id, f := range d.facts {
		if id.service == service {
			f.weight = 0
			d.facts[id] = f
		}
	}
}

// SetPods replaces the pods of a service whose source is not static.
func (d *Desk) SetPods(now time.Time, service string, pods []statefulroute.Pod) error {
	svc, ok := d.service(service)
	if !ok {
		return fmt.Errorf("service %q: %w", service, ErrUnknownPod)
	}
	d.setPods(now, svc, pods)
	return nil
}

func (d *Desk) service(name string) (statefulroute.Service, bool) {
	for _, svc := range d.services {
		if svc.Name == name {
			return svc, true
		}
	}
	return statefulroute.Service{}, false
}

// setPods forgets what was found of pods that are gone: a pod that comes back
// under the name starts afresh. Orders may stay a while.
func (d *Desk) setPods(now time.Time, svc statefulroute.Service, pods []statefulroute.Pod) {
	list := newPodList(pods)
	d.pods[svc.Name] = list
	maps.DeleteFunc(d.facts, func(id podID, _ podFacts) bool { return id.service == svc.Name && !list.has(id.pod) })
	d.ageOrders(now, svc, list)
}

// SetHealthy is what the health checks found.
func (d *Desk) SetHealthy(service, pod string, healthy bool) error {
	return d.change(service, pod, func(f *podFacts) { f.down = !healthy })
}

// SetWeight is what the load made of a pod's weight; 0 means the configured one.
// It is ignored where load does not change weights.
func (d *Desk) SetWeight(service, pod string, weight uint32) error {
	if svc, ok := d.service(service); ok && !Steers(svc.Balancing.Strategy) {
		return nil
	}
	return d.change(service, pod, func(f *podFacts) { f.weight = weight })
}

func (d *Desk) change(service, pod string, edit func(*podFacts)) error {
	if err := d.mustHave(service, pod); err != nil {
		return err
	}
	id := podID{service, pod}
	f := d.facts[id]
	edit(&f)
	d.facts[id] = f
	return nil
}

func (d *Desk) mustHave(service, pod string) error {
	if !d.pods[service].has(pod) {
		return fmt.Errorf("pod %q of service %q: %w", pod, service, ErrUnknownPod)
	}
	return nil
}

// Model returns the services with their pods as they are to be published.
func (d *Desk) Model() Model {
	m := Model{Gateway: d.gateway}
	for _, svc := range d.services {
		view := ServiceView{Service: svc}
		for _, p := range d.pods[svc.Name].pods {
			id := podID{svc.Name, p.Name}
			f, ordered := d.facts[id], d.orders[id].state
			p.State = rank(ordered, f.down)
			weight := f.weight
			if weight == 0 {
				weight = p.Weight
			}
			view.Members = append(view.Members, Member{Pod: p, EffectiveWeight: weight, Order: ordered, Down: f.down})
		}
		m.Services = append(m.Services, view)
	}
	return m
}

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

// clone returns a desk that later changes of d do not reach.
func (d *Desk) clone() *Desk {
	return &Desk{
		gateway: d.gateway, services: d.services,
		pods: maps.Clone(d.pods), facts: maps.Clone(d.facts), orders: maps.Clone(d.orders),
	}
}
