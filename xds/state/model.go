package state

import (
	"net/netip"
	"reflect"
	"slices"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/xds/secret"
)

// Model is everything the resources are made of. Like the views in it, it is
// never changed, only replaced.
type Model struct {
	Gateway  Gateway
	Services []*ServiceView

	// layout is the same pointer in all models of the same services in the same
	// order; nil in a model made by hand.
	layout *layout
}

// layout is which services there are, and where in a model. It is never changed.
type layout struct {
	names  []string
	places map[string]int
}

func newLayout(names []string) *layout {
	l := &layout{names: names, places: make(map[string]int, len(names))}
	for i, name := range names {
		l.places[name] = i
	}
	return l
}

// SameServices reports whether two models have services of the same names in the
// same order.
func (m Model) SameServices(other Model) bool {
	if m.layout != nil && m.layout == other.layout {
		return true
	}
	return slices.EqualFunc(m.Services, other.Services, func(a, b *ServiceView) bool { return a.Name == b.Name })
}

// Gateway is what every Envoy is told beside the services.
type Gateway struct {
	// Listeners are where Envoy accepts clients.
	Listeners []Listener
	// Certificates are those that clients of listeners with TLS are shown.
	Certificates []statefulroute.Certificate
	// Secrets are, by their names, all that Certificates and the services' TLS name. A
	// map is never changed, only replaced.
	Secrets map[string]*secret.Secret
	// Extprocs are the external processors' addresses, IP:PORT or unix:PATH.
	Extprocs []string
	// MessageTimeout bounds one answer of an external processor.
	MessageTimeout time.Duration
	// SessionAffinity has each session's requests be asked of the same one.
	SessionAffinity bool
	// TrustedHops is how many proxies before Envoy are trusted.
	TrustedHops uint32
	// HTTP10 has Envoy take HTTP/1.0 requests.
	HTTP10 bool
	// DebugHeaders names the pod on every response.
	DebugHeaders bool
	// Tracing has Envoy export spans; the zero value is off.
	Tracing Tracing
}

// Listener is one address that Envoy accepts clients on.
type Listener struct {
	// Address is IP:PORT.
	Address string
	// TLS is what is spoken there.
	TLS bool
}

// GatewayOf is what a configuration says about every Envoy. The secrets are not in it.
func GatewayOf(e config.Envoy) Gateway {
	listeners := make([]Listener, len(e.Listeners))
	for i, l := range e.Listeners {
		listeners[i] = Listener(l)
	}
	return Gateway{
		Listeners: listeners, Certificates: e.TLS, Extprocs: e.Extproc.Addresses,
		MessageTimeout: e.Extproc.MessageTimeout, SessionAffinity: e.Extproc.SessionAffinity, DebugHeaders: e.DebugHeaders,
		TrustedHops: e.TrustedHops, HTTP10: e.HTTP10,
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

	// spec is where Service was copied from: views with the same one have the same
	// policy. nil in a view made by hand.
	spec *statefulroute.Service
	// facts is the same number in views of a service that differ in the weights
	// their load gave them at most; 0: not known.
	facts uint64
	index *podIndex // of the members; nil in a view made by hand
}

// Member is a pod with the weight its load gave it.
type Member struct {
	statefulroute.Pod
	// EffectiveWeight is Envoy's load_balancing_weight for the pod, at least 1.
	EffectiveWeight uint32
	// State is the sum of these two: what the operator says, Ready for nothing,
	// and that the health checks fail.
	Override statefulroute.PodState
	Down     bool
}

// SamePolicy reports whether two views differ in their pods at most.
func (v *ServiceView) SamePolicy(other *ServiceView) bool {
	if v.spec != nil && v.spec == other.spec {
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
	return &ServiceView{Service: v.Service, spec: v.spec, Members: members}
}

// Service finds a service by its name.
func (m Model) Service(name string) (*ServiceView, bool) {
	if m.layout != nil {
		i, ok := m.layout.places[name]
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

// HasService reports whether there is the service.
func (m Model) HasService(name string) bool {
	_, ok := m.Service(name)
	return ok
}

// HasPod reports whether the service has the pod.
func (m Model) HasPod(service, pod string) bool {
	svc, ok := m.Service(service)
	return ok && svc.indexed().has(pod)
}

// PodAt names the pod at an address of a service.
func (m Model) PodAt(service string, at netip.AddrPort) (pod string, ok bool) {
	svc, ok := m.Service(service)
	if !ok {
		return "", false
	}
	pod, ok = svc.indexed().addresses[at]
	return pod, ok
}

// indexed finds the pods of the view. One that was made by hand has no index.
func (v *ServiceView) indexed() *podIndex {
	if v.index != nil {
		return v.index
	}
	return newPodIndex(v.Members)
}

// podIndex finds a service's pods. It is shared by all views of the same pods at
// the same addresses, and never changed.
type podIndex struct {
	names     map[string]struct{}
	addresses map[netip.AddrPort]string
}

func newPodIndex(members []Member) *podIndex {
	x := &podIndex{names: make(map[string]struct{}, len(members)), addresses: make(map[netip.AddrPort]string, len(members))}
	for _, m := range members {
		x.names[m.Name] = struct{}{}
		x.addresses[m.Address] = m.Name
	}
	return x
}

func (x *podIndex) has(pod string) bool {
	_, ok := x.names[pod]
	return ok
}
