package state

import (
	"reflect"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/config"
)

// Model is everything the resources are made of. Like the views in it, it is
// never changed, only replaced.
type Model struct {
	Gateway  Gateway
	Services []*ServiceView

	// layout is the same pointer in all models of the same services in the same
	// order; nil in a model made by hand.
	layout *Layout
}

// Layout is which services there are, and where in a model. It is never changed.
type Layout struct {
	Names  []string
	Places map[string]int
}

func NewLayout(names []string) *Layout {
	l := &Layout{Names: names, Places: make(map[string]int, len(names))}
	for i, name := range names {
		l.Places[name] = i
	}
	return l
}

// LayoutOf is the model's layout.
func (m Model) LayoutOf() *Layout {
	if m.layout != nil {
		return m.layout
	}
	names := make([]string, len(m.Services))
	for i, svc := range m.Services {
		names[i] = svc.Name
	}
	return NewLayout(names)
}

// Gateway is what every Envoy is told beside the services.
type Gateway struct {
	// Listener is the IP:PORT Envoy accepts clients on.
	Listener string
	// Extprocs are the external processors' addresses, IP:PORT or unix:PATH.
	Extprocs []string
	// MessageTimeout bounds one answer of an external processor.
	MessageTimeout time.Duration
	// DebugHeaders names the pod on every response.
	DebugHeaders bool
	// Tracing has Envoy export spans; the zero value is off.
	Tracing Tracing
}

// GatewayOf is what a configuration says about every Envoy.
func GatewayOf(e config.Envoy) Gateway {
	return Gateway{
		Listener: e.Listener, Extprocs: e.Extproc.Addresses,
		MessageTimeout: e.Extproc.MessageTimeout, DebugHeaders: e.DebugHeaders,
		Tracing: Tracing(e.Tracing),
	}
}

// Tracing is where Envoy sends its spans.
type Tracing struct {
	// OTLP is a collector's IP:PORT; empty is off.
	OTLP string
	// Sample is the share, in percent, of the traces begun here that are kept.
	Sample float64
}

// ServiceView is a service with the pods it has at the moment. It is immutable:
// a change of the service makes a new one, and all others stay the same pointer,
// so that what did not change is known without a look inside.
type ServiceView struct {
	statefulroute.Service
	Members []Member
	// Unrouted services have a cluster but no route: they are being added or
	// removed.
	Unrouted bool

	// Spec is where Service was copied from: views with the same one have the same
	// policy. nil in a view made by hand.
	Spec *statefulroute.Service
	// facts is the same number in views of a service that differ in the weights
	// their load gave them at most; 0: not known.
	facts uint64
	pods  *podIndex // by name and by address; nil in a view made by hand
}

// Member is a pod with the weight its load gave it.
type Member struct {
	statefulroute.Pod
	// EffectiveWeight is Envoy's load_balancing_weight for the pod, at least 1.
	EffectiveWeight uint32
	// State is the sum of these two: what the operator ordered, Ready for nothing,
	// and that the health checks fail.
	Order statefulroute.PodState
	Down  bool
}

// SamePolicy reports whether two views differ in their pods at most.
func (v *ServiceView) SamePolicy(other *ServiceView) bool {
	if v.Spec != nil && v.Spec == other.Spec {
		return true
	}
	a, b := v.Service, other.Service
	a.Pods, b.Pods = statefulroute.PodSource{}, statefulroute.PodSource{}
	a.Health, b.Health = nil, nil
	return reflect.DeepEqual(a, b)
}

// SameButWeights reports whether two views differ in the weights that the load
// gave their pods at most.
func (v *ServiceView) SameButWeights(other *ServiceView) bool {
	return v == other || v.facts != 0 && v.facts == other.facts
}

// WithMembers returns a view of the same policy with other pods.
func (v *ServiceView) WithMembers(members []Member) *ServiceView {
	return &ServiceView{Service: v.Service, Spec: v.Spec, Members: members}
}

func (m Model) Service(name string) (*ServiceView, bool) {
	if m.layout != nil {
		i, ok := m.layout.Places[name]
		if !ok {
			return nil, false
		}
		return m.Services[i], true
	}
	for _, s := range m.Services {
		if s.Name == name {
			return s, true
		}
	}
	return nil, false
}
