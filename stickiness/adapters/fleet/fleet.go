// Package fleet runs one or two processes of a proxy as a gateway.Gateway; what
// differs between proxies is in a Product.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

// OwnControlPlane is why a proxy has no control plane that could be away.
const OwnControlPlane = "it has none apart from itself"

// Product is one proxy with one kind of configuration. A node is one gateway.
type Product interface {
	// Start configures the node for the pods, and starts it.
	Start(ctx context.Context, n *Node, pods []gateway.Pod) error
	// SetPods brings a node that runs from one list of pods to another, and
	// returns when the node goes by it.
	SetPods(ctx context.Context, n *Node, from, to []gateway.Pod) error
	// Reload has a node that runs read its configuration anew.
	Reload(ctx context.Context, n *Node, pods []gateway.Pod) error
}

// Ender is a Product that leaves something behind when its processes have ended.
type Ender interface {
	End(n *Node) error
}

// Fleet is a gateway of one or two nodes that know nothing of each other but what
// their configuration says.
type Fleet struct {
	product Product
	health  gateway.Health
	nodes   []*Node
	pods    []gateway.Pod
	ports   *gateway.Ports
}

var _ gateway.Gateway = (*Fleet)(nil)

// New starts the nodes of a product; each has as many free addresses beside the
// clients' as more says.
func New(ctx context.Context, o gateway.Options, more int, product Product) (*Fleet, error) {
	ports, err := gateway.NewPorts()
	if err != nil {
		return nil, err
	}
	f := &Fleet{product: product, health: o.Health, pods: slices.Clone(o.Pods), ports: ports}
	for i := range o.Gateways {
		n, err := NewNode(o.Dir, fmt.Sprintf("gateway-%d", i), ports, more)
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		f.nodes = append(f.nodes, n)
	}
	for _, n := range f.nodes {
		n.Nodes = f.nodes
	}
	for i := range f.nodes {
		if err := f.Restart(ctx, i); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// Addresses are where clients connect.
func (f *Fleet) Addresses() []string { return f.each(func(n *Node) string { return n.Address }) }

// GRPCAddresses are the first of the further addresses: a product that takes gRPC
// elsewhere than the rest listens there.
func (f *Fleet) grpcAddresses() []string { return f.each(func(n *Node) string { return n.More[0] }) }

func (f *Fleet) each(what func(*Node) string) []string {
	var all []string
	for _, n := range f.nodes {
		all = append(all, what(n))
	}
	return all
}

// SetPods changes the nodes that run; one that was killed gets the list with its restart.
func (f *Fleet) SetPods(ctx context.Context, pods []gateway.Pod) error {
	from := f.pods
	f.pods = slices.Clone(pods)
	return f.running(func(n *Node) error { return f.product.SetPods(ctx, n, from, f.pods) })
}

// Reload reloads the nodes that run.
func (f *Fleet) Reload(ctx context.Context) error {
	return f.running(func(n *Node) error { return f.product.Reload(ctx, n, f.pods) })
}

func (f *Fleet) running(do func(*Node) error) error {
	for _, n := range f.nodes {
		if !n.Running() {
			continue
		}
		if err := do(n); err != nil {
			return fmt.Errorf("%s: %w", n.Name(), errors.Join(err, n.Err()))
		}
	}
	return nil
}

// Kill ends a node's processes by SIGKILL.
func (f *Fleet) Kill(_ context.Context, i int) error {
	f.nodes[i].Kill()
	return nil
}

// Restart starts a node and waits until it passes a request.
func (f *Fleet) Restart(ctx context.Context, i int) error {
	n := f.nodes[i]
	if err := f.product.Start(ctx, n, f.pods); err != nil {
		return fmt.Errorf("gateway %d: %w", i, err)
	}
	if err := gateway.WaitStatus(ctx, "http://"+n.Address+f.health.Path, 200); err != nil {
		return fmt.Errorf("gateway %d: %w", i, errors.Join(err, n.Err()))
	}
	return nil
}

// patience is how long a process may take to end by itself.
const patience = time.Second

// Close ends all nodes.
func (f *Fleet) Close() error {
	var errs []error
	for _, n := range f.nodes {
		n.Stop(patience)
		if e, ok := f.product.(Ender); ok {
			errs = append(errs, e.End(n))
		}
	}
	return errors.Join(append(errs, f.ports.Close())...)
}

// WithGRPC is a Fleet that takes gRPC at addresses of its own.
type WithGRPC struct{ *Fleet }

var _ gateway.GRPCAddresses = WithGRPC{}

// GRPCAddresses are the first of each node's further addresses.
func (f WithGRPC) GRPCAddresses() []string { return f.grpcAddresses() }
