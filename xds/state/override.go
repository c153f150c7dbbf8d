package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Order is an operator's word on a pod that outlives xds-server.
type Order struct {
	Service string `json:"service"`
	Pod     string `json:"pod"`
	State   string `json:"state"` // draining or maintenance
}

// OrderKeeper keeps the orders in force.
type OrderKeeper interface {
	// Keep is called from the server's loop and must not wait.
	Keep([]Order)
	// Saved returns when what was to be kept so far is saved, or says why it
	// cannot be.
	Saved(ctx context.Context) error
}

// ErrNotSaved means that an order is in force, but could not be saved: a restart
// would forget it.
var ErrNotSaved = errors.New("in force, but not saved: it ends with xds-server")

// orderKeep is how long an order outlives the presence of its pod in DNS
// answers: longer than a name server is confused or a pod restarts, shorter than
// the time after which an address is likely somebody else's.
const orderKeep = 10 * time.Minute

// order is an operator's word on a pod.
type order struct {
	state statefulroute.PodState // Draining or Maintenance
	gone  time.Time              // since when the pod is not among those known; zero if it is
}

// SetOverride is the operator's word on a pod: Draining, Maintenance, or Ready
// to take it back. Unhealthy cannot be ordered.
func (d *Desk) SetOverride(service, pod string, state statefulroute.PodState) error {
	if state == statefulroute.Unhealthy {
		return errors.New("unhealthy is what health checks find, not an order")
	}
	if err := d.mustHave(service, pod); err != nil {
		return err
	}
	s := d.touch(service)
	d.ordered = true
	if state == statefulroute.Ready {
		delete(s.orders, pod)
	} else {
		s.orders[pod] = order{state: state}
	}
	return nil
}

// ageOrders drops the orders on pods that are gone from a service's new list: at
// once where somebody wrote the list, after orderKeep where DNS answered, whose
// answers may lack a pod that is there.
func (d *Desk) ageOrders(now time.Time, s *deskService) {
	for pod, o := range s.orders {
		there := s.index.has(pod)
		if !there && o.gone.IsZero() {
			o.gone = now
		}
		// Answers that say the same are not heard of: it may be long ago.
		done := !o.gone.IsZero() && (s.spec.Pods.DNS == nil || now.Sub(o.gone) >= orderKeep)
		switch {
		case done:
			delete(s.orders, pod)
			d.ordered = true
		case there:
			s.orders[pod] = order{state: o.state}
		default:
			s.orders[pod] = o
		}
	}
}

// Orders returns what operators said of the pods, in the order of services and
// then of names; those on pods that are gone for a while are among them.
func (d *Desk) Orders() []Order {
	orders := []Order{}
	for _, name := range d.layout.names {
		s := d.services[name]
		for _, pod := range slices.Sorted(maps.Keys(s.orders)) {
			orders = append(orders, Order{name, pod, s.orders[pod].state.String()})
		}
	}
	return orders
}

// Obey repeats kept orders. Those on pods that are gone are dropped, but where
// DNS tells the pods: it may not have answered yet.
func (d *Desk) Obey(now time.Time, orders []Order) error {
	d.ordered = true // those on pods that are gone are no longer kept, either
	for _, o := range orders {
		state, err := statefulroute.ParsePodState(o.State)
		if err == nil {
			err = d.SetOverride(o.Service, o.Pod, state)
		}
		if errors.Is(err, ErrUnknownPod) {
			d.obeyLater(now, o.Service, o.Pod, state)
			continue
		}
		if err != nil {
			return fmt.Errorf("kept order on pod %q of service %q: %w", o.Pod, o.Service, err)
		}
	}
	return nil
}

// obeyLater keeps an order on a pod that is not there, but may come. Its time
// runs from the first answer that lacks it: no answer says nothing.
func (d *Desk) obeyLater(now time.Time, service, pod string, state statefulroute.PodState) {
	have := d.services[service]
	if have == nil || have.spec.Pods.DNS == nil || state == statefulroute.Ready {
		return
	}
	o := order{state: state}
	if have.answered {
		o.gone = now
	}
	d.touch(service).orders[pod] = o
	d.ordered = true
}
