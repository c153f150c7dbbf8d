package xds

import (
	"errors"
	"fmt"
	"maps"
	"slices"

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
	pods     map[string][]statefulroute.Pod
	facts    map[podID]podFacts
}

type podID struct{ service, pod string }

type podFacts struct {
	override statefulroute.PodState // Ready: the operator said nothing
	down     bool                   // health checks say so
	weight   uint32                 // 0: use the configured one
}

// NewDesk returns an empty desk.
func NewDesk() *Desk {
	return &Desk{pods: map[string][]statefulroute.Pod{}, facts: map[podID]podFacts{}}
}

// SetConfig replaces the gateway and the services. Pods of static sources are
// taken from it; those of other sources stay as they are until SetPods.
func (d *Desk) SetConfig(g Gateway, services []statefulroute.Service) {
	d.gateway, d.services = g, services
	known := map[string]bool{}
	for _, svc := range services {
		known[svc.Name] = true
		if svc.Pods.Static != nil {
			d.setPods(svc.Name, svc.Pods.Static)
		}
		if !Steers(svc.Balancing.Strategy) {
			d.forgetWeights(svc.Name)
		}
	}
	maps.DeleteFunc(d.pods, func(name string, _ []statefulroute.Pod) bool { return !known[name] })
	maps.DeleteFunc(d.facts, func(id podID, _ podFacts) bool { return !known[id.service] })
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
func (d *Desk) SetPods(service string, pods []statefulroute.Pod) error {
	for _, svc := range d.services {
		if svc.Name == service {
			d.setPods(service, pods)
			return nil
		}
	}
	return fmt.Errorf("service %q: %w", service, ErrUnknownPod)
}

// setPods forgets what was said of pods that are gone: a pod that comes back
// under the name starts afresh.
func (d *Desk) setPods(service string, pods []statefulroute.Pod) {
	d.pods[service] = pods
	maps.DeleteFunc(d.facts, func(id podID, _ podFacts) bool {
		return id.service == service && !slices.ContainsFunc(pods, func(p statefulroute.Pod) bool { return p.Name == id.pod })
	})
}

// SetOverride is the operator's word on a pod: Draining, Maintenance, or Ready
// to take it back. Unhealthy cannot be ordered.
func (d *Desk) SetOverride(service, pod string, state statefulroute.PodState) error {
	if state == statefulroute.Unhealthy {
		return errors.New("unhealthy is what health checks find, not an order")
	}
	return d.change(service, pod, func(f *podFacts) { f.override = state })
}

// SetHealthy is what the health checks found.
func (d *Desk) SetHealthy(service, pod string, healthy bool) error {
	return d.change(service, pod, func(f *podFacts) { f.down = !healthy })
}

// SetWeight is what the load made of a pod's weight; 0 means the configured one.
// It is ignored where load does not change weights.
func (d *Desk) SetWeight(service, pod string, weight uint32) error {
	if slices.ContainsFunc(d.services, func(svc statefulroute.Service) bool {
		return svc.Name == service && !Steers(svc.Balancing.Strategy)
	}) {
		return nil
	}
	return d.change(service, pod, func(f *podFacts) { f.weight = weight })
}

func (d *Desk) change(service, pod string, edit func(*podFacts)) error {
	if !slices.ContainsFunc(d.pods[service], func(p statefulroute.Pod) bool { return p.Name == pod }) {
		return fmt.Errorf("pod %q of service %q: %w", pod, service, ErrUnknownPod)
	}
	id := podID{service, pod}
	f := d.facts[id]
	edit(&f)
	d.facts[id] = f
	return nil
}

// Model returns the services with their pods as they are to be published.
func (d *Desk) Model() Model {
	m := Model{Gateway: d.gateway}
	for _, svc := range d.services {
		view := ServiceView{Service: svc}
		for _, p := range d.pods[svc.Name] {
			f := d.facts[podID{svc.Name, p.Name}]
			p.State = f.state()
			weight := f.weight
			if weight == 0 {
				weight = p.Weight
			}
			view.Members = append(view.Members, Member{Pod: p, EffectiveWeight: weight, Order: f.override, Down: f.down})
		}
		m.Services = append(m.Services, view)
	}
	return m
}

// state ranks what was said: an operator's maintenance over a failed check,
// and that over a drain.
func (f podFacts) state() statefulroute.PodState {
	switch {
	case f.override == statefulroute.Maintenance:
		return statefulroute.Maintenance
	case f.down:
		return statefulroute.Unhealthy
	default:
		return f.override
	}
}

// clone returns a desk that later changes of d do not reach.
func (d *Desk) clone() *Desk {
	return &Desk{gateway: d.gateway, services: d.services, pods: maps.Clone(d.pods), facts: maps.Clone(d.facts)}
}
