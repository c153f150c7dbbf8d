package nginx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/template"

	"github.com/stateful-route/stateful-route/stickiness/adapters/fleet"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

var program = fleet.Program{Name: "nginx", Env: "NGINX"}

const configuration = "nginx.conf"

type product struct {
	configuration *template.Template
	health        gateway.Health
}

// Start starts the master and its workers.
func (p *product) Start(ctx context.Context, n *fleet.Node, pods []gateway.Pod) error {
	if err := p.configure(ctx, n, pods); err != nil {
		return err
	}
	path, err := program.Path()
	if err != nil {
		return err
	}
	_, err = n.Run("nginx", path, "-p", n.Dir, "-e", n.Path("error.log"), "-c", n.Path(configuration))
	return err
}

func (p *product) SetPods(ctx context.Context, n *fleet.Node, _, to []gateway.Pod) error {
	return p.Reload(ctx, n, to)
}

// Reload has the master start workers that go by the file, and returns when those that
// went by the old one accept no connection any more.
func (p *product) Reload(ctx context.Context, n *fleet.Node, pods []gateway.Pod) error {
	old, err := workers(n.Main().Pid())
	if err != nil {
		return err
	}
	if err := p.configure(ctx, n, pods); err != nil {
		return err
	}
	if err := syscall.Kill(n.Main().Pid(), syscall.SIGHUP); err != nil {
		return err
	}
	return n.Until(ctx, func(context.Context) error {
		now, err := workers(n.Main().Pid())
		if err != nil {
			return err
		}
		if len(now) == 0 || slices.ContainsFunc(now, func(pid int) bool { return slices.Contains(old, pid) }) {
			return errors.New("workers that go by the old configuration accept connections")
		}
		return nil
	})
}

// configure writes the file, and has it checked: a reload would refuse a bad one without a word.
func (p *product) configure(ctx context.Context, n *fleet.Node, pods []gateway.Pod) error {
	if err := n.Fill(configuration, p.configuration, p.health, pods); err != nil {
		return err
	}
	path, err := program.Path()
	if err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, path, "-t", "-q", "-p", n.Dir, "-e", n.Path("error.log"), "-c", n.Path(configuration)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("nginx -t: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// workers are the processes of a master that accept connections, by their titles.
func workers(master int) ([]int, error) {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", master))
	if err != nil {
		return nil, fmt.Errorf("workers of nginx: %w", err)
	}
	var all []int
	for _, field := range strings.Fields(string(children)) {
		title, err := os.ReadFile("/proc/" + field + "/cmdline")
		if err != nil || !strings.HasPrefix(string(title), "nginx: worker process") || strings.Contains(string(title), "shutting down") {
			continue // ended, not yet named, or going
		}
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		all = append(all, pid)
	}
	return all, nil
}
