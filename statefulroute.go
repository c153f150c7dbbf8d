// Package statefulroute holds the plain facts that every part of Stateful Route
// talks about: services, their pods, the sessions bound to those pods, and the
// load each pod carries. It imports nothing but the standard library, so the
// pure cores (affinity, balancing, analysis) and the adapters (xds, extproc) can
// share these words without knowing each other.
//
// A pod is known by its name; its address is only where it lives at the moment.
package statefulroute

import (
	"fmt"
	"net/netip"
	"time"
)

// Pod is one backend of a service. Its identity is Name; Address may change
// under it (a restarted StatefulSet pod keeps its sessions).
type Pod struct {
	Name    string
	Address netip.AddrPort
	// Weight is the pod's configured relative capacity, at least 1.
	Weight uint32
	// Zone is the failure domain the pod runs in; empty when unknown.
	Zone  string
	State PodState
	// Avoid asks for new sessions to go to other pods where they can: the pod flaps,
	// or is only just back. Its own sessions stay.
	Avoid bool
}

// PodState says what a pod may be sent. The zero value is Ready.
type PodState uint8

const (
	// Ready pods serve their bound sessions and take new ones.
	Ready PodState = iota
	// Draining pods serve their bound sessions and take no new one.
	Draining
	// Maintenance pods are taken out by an operator: they get nothing, and
	// their sessions are lost to them as if the pod were gone.
	Maintenance
	// Unhealthy pods failed their health checks: they get nothing until they
	// recover, and their sessions are treated as those of a lost pod.
	Unhealthy
)

// ServesBound reports whether a session bound to the pod may be sent to it.
func (s PodState) ServesBound() bool { return s == Ready || s == Draining }

// TakesNew reports whether a new session may be bound to the pod.
func (s PodState) TakesNew() bool { return s == Ready }

// String returns the name used in admin APIs, logs and metadata.
func (s PodState) String() string {
	switch s {
	case Ready:
		return "ready"
	case Draining:
		return "draining"
	case Maintenance:
		return "maintenance"
	case Unhealthy:
		return "unhealthy"
	}
	return fmt.Sprintf("PodState(%d)", uint8(s))
}

// ParsePodState is the inverse of PodState.String.
func ParsePodState(name string) (PodState, error) {
	for s := Ready; s <= Unhealthy; s++ {
		if s.String() == name {
			return s, nil
		}
	}
	return Ready, fmt.Errorf("unknown pod state %q", name)
}

// Load is what is known of the work a pod does at one moment.
type Load struct {
	// InFlight is the number of requests the pod has not finished.
	InFlight int64
	// ResponseTime is a smoothed response time; 0 means not known yet.
	ResponseTime time.Duration
	// ErrorRate is the share of failed responses, 0 to 1.
	ErrorRate float64
	// Sessions is the number of sessions bound to the pod.
	Sessions int64
	// LastResponse is when the pod last answered; zero means never.
	LastResponse time.Time
}

// Binding is one session's pod, and what an operator may want to know of it.
type Binding struct {
	Service string
	// Key is the session key as the client sent it: shown only by the session
	// admin API, never logged, never a metric label.
	Key string
	Pod string
	// PreviousPod is where the session lived before its last rebind or move;
	// empty when it never moved.
	PreviousPod string
	// Epoch grows whenever the session's pod changes, and is never used again for the
	// key, not even after the binding was forgotten: milliseconds since 1970 when the
	// pod became the session's, or one more than the last epoch if that is more. 0 means
	// none: of the binding only its pod is remembered, see affinity.
	Epoch    uint64
	Created  time.Time
	LastSeen time.Time
	// Requests counts the lookups and claims that returned this binding.
	Requests uint64
	// InFlight is how many requests of the session have not ended: with one, such as an
	// open WebSocket, it is in use and not idle, however long ago LastSeen is.
	InFlight int
}
