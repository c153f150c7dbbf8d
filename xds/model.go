package xds

import (
	"slices"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Model is everything the resources are made of.
type Model struct {
	Gateway  Gateway
	Services []ServiceView
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

// Tracing is where Envoy sends its spans.
type Tracing struct {
	// OTLP is a collector's IP:PORT; empty is off.
	OTLP string
	// Sample is the share, in percent, of the traces begun here that are kept.
	Sample float64
}

// ServiceView is a service with the pods it has at the moment.
type ServiceView struct {
	statefulroute.Service
	Members []Member
	// Unrouted services have a cluster but no route: they are being added or
	// removed.
	Unrouted bool
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

// clone returns an equal model that shares no slice the rollout changes.
func (m Model) clone() Model {
	m.Services = slices.Clone(m.Services)
	for i := range m.Services {
		m.Services[i].Members = slices.Clone(m.Services[i].Members)
	}
	return m
}

func (m Model) service(name string) (ServiceView, bool) {
	for _, s := range m.Services {
		if s.Name == name {
			return s, true
		}
	}
	return ServiceView{}, false
}
