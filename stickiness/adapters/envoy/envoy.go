package envoy

import (
	"context"
	"text/template"

	"github.com/stateful-route/stateful-route/stickiness/adapters/envoyproc"
	"github.com/stateful-route/stateful-route/stickiness/adapters/fleet"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

const (
	configuration = "envoy.yaml"
	endpoints     = "eds/pods.yaml"
)

type product struct {
	configuration, pods *template.Template
	health              gateway.Health
}

func admin(n *fleet.Node) string { return n.More[0] }

// Start starts the first generation.
func (p *product) Start(ctx context.Context, n *fleet.Node, pods []gateway.Pod) error {
	if err := n.Fill(endpoints, p.pods, p.health, pods); err != nil {
		return err
	}
	if err := n.Fill(configuration, p.configuration, p.health, pods); err != nil {
		return err
	}
	if err := envoyproc.Start(n, envoyproc.Program, configuration); err != nil {
		return err
	}
	return p.holds(ctx, n, pods)
}

// SetPods replaces the file of the endpoints.
func (p *product) SetPods(ctx context.Context, n *fleet.Node, _, to []gateway.Pod) error {
	if err := n.Fill(endpoints, p.pods, p.health, to); err != nil {
		return err
	}
	return p.holds(ctx, n, to)
}

func (p *product) holds(ctx context.Context, n *fleet.Node, pods []gateway.Pod) error {
	return n.Until(ctx, func(ctx context.Context) error { return envoyproc.Holds(ctx, admin(n), "pods", pods) })
}

// Reload starts the next generation.
func (p *product) Reload(ctx context.Context, n *fleet.Node, _ []gateway.Pod) error {
	return envoyproc.HotRestart(ctx, n, envoyproc.Program, configuration, admin(n))
}

// End removes what is left.
func (p *product) End(n *fleet.Node) error { return envoyproc.Forget(n) }
