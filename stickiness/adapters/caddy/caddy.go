package caddy

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"

	"github.com/stateful-route/stateful-route/stickiness/adapters/fleet"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

var program = fleet.Program{Name: "caddy", Env: "CADDY"}

const configuration = "Caddyfile"

// Start starts it in the foreground.
func (p *product) Start(_ context.Context, n *fleet.Node, pods []gateway.Pod) error {
	path, err := program.Path()
	if err != nil {
		return err
	}
	if err := n.Fill(configuration, p.configuration, p.health, pods); err != nil {
		return err
	}
	_, err = n.Run("caddy", path, "run", "--adapter", "caddyfile", "--config", n.Path(configuration))
	return err
}

// SetPods is a reload, which returns when it is in force.
func (p *product) SetPods(ctx context.Context, n *fleet.Node, _, to []gateway.Pod) error {
	return p.Reload(ctx, n, to)
}

// Reload loads the file, be it the same as before.
func (p *product) Reload(ctx context.Context, n *fleet.Node, pods []gateway.Pod) error {
	path, err := program.Path()
	if err != nil {
		return err
	}
	if err := n.Fill(configuration, p.configuration, p.health, pods); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, path, "reload", "--force", "--address", n.More[0], "--adapter", "caddyfile", "--config", n.Path(configuration)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("caddy reload: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}
