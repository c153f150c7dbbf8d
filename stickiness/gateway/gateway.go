package gateway

import (
	"context"
	"time"
)

// State is what an operator wants of a pod.
type State string

// The states. A pod that is to get nothing any more is left out of the list.
const (
	// Serving: sessions of its own and new ones.
	Serving State = "serving"
	// Draining: it keeps its sessions and gets no new one.
	Draining State = "draining"
)

// Pod is one backend. Its Name stays; its Address may change when it restarts.
// It serves HTTP/1.1 and HTTP/2 without TLS (prior knowledge), WebSockets, event
// streams and gRPC, all at one address.
type Pod struct {
	Name    string // a-z, 0-9 and -
	Address string // IP:port
	State   State
}

// Health is the pods' health check: an HTTP GET that is answered with 200 or
// 503. A gateway is to be set to these values where it has such settings.
type Health struct {
	Path           string
	Interval       time.Duration
	Timeout        time.Duration
	UnhealthyAfter int // failures in a row
	HealthyAfter   int // successes in a row
}

// Options are what a gateway is started with.
type Options struct {
	// Dir is an empty folder of this run's own, for configuration, logs and
	// sockets. Its path is short enough for a Unix socket's.
	Dir string
	// Gateways is how many to start: 1 or 2.
	Gateways int
	// Pods are there from the start, and up.
	Pods []Pod
	// Health is how pods are checked.
	Health Health
}

// Gateway is a running set of one or two gateways over the same pods. Its
// methods are called one at a time.
type Gateway interface {
	// Addresses are where clients connect, IP:port, one per gateway. They stay
	// the same over Kill and Restart.
	Addresses() []string
	// SetPods makes pods the whole list: it adds, removes, drains and changes
	// addresses, in the way the product's documentation recommends. It returns
	// when that is in force in every gateway that runs, as far as they tell.
	// A gateway that was killed takes the new list when it is restarted.
	SetPods(ctx context.Context, pods []Pod) error
	// Reload has every gateway read its unchanged configuration anew, in the way
	// that is meant to lose nothing, and returns when that is done.
	Reload(ctx context.Context) error
	// Kill ends gateway i with SIGKILL, all its processes, and waits for their end.
	Kill(ctx context.Context, i int) error
	// Restart starts gateway i after Kill as it was started first, with what it
	// keeps on disk, and returns when it answers requests.
	Restart(ctx context.Context, i int) error
	// Close ends everything and waits for its end.
	Close() error
}

// ControlPlane is a Gateway whose control plane runs apart from what passes the
// requests (the feature ControlPlaneApart).
type ControlPlane interface {
	// Away ends the control plane with SIGKILL, all that is not needed to pass a
	// request that arrives; it waits for its end.
	Away(ctx context.Context) error
	// Back starts it again and returns when it leads the gateways.
	Back(ctx context.Context) error
}

// GRPCAddresses is a Gateway that takes gRPC at addresses of its own, one per gateway.
type GRPCAddresses interface {
	GRPCAddresses() []string
}
