package haproxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"text/template"

	"github.com/stateful-route/stateful-route/stickiness/adapters/fleet"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

var program = fleet.Program{Name: "haproxy", Env: "HAPROXY"}

const (
	configuration = "haproxy.cfg"
	socket        = "haproxy.sock"
	masterSocket  = "master.sock"
	states        = "servers.state"
)

type product struct {
	configuration *template.Template
	// table: sessions are in a stick-table, which a reload puts at risk, and servers take
	// no cookie, so that they can come and go by the runtime API.
	table  bool
	health gateway.Health
}

// Start starts the master and its worker. The servers' states of a former life are of
// no use, but for drains, which are ordered anew.
func (p *product) Start(ctx context.Context, n *fleet.Node, pods []gateway.Pod) error {
	path, err := program.Path()
	if err != nil {
		return err
	}
	if err := os.Remove(n.Path(states)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := n.Fill(configuration, p.configuration, p.health, pods); err != nil {
		return err
	}
	if _, err := n.Run("haproxy", path, "-W", "-db", "-S", n.Path(masterSocket), "-f", n.Path(configuration)); err != nil {
		return err
	}
	// A reload that is asked for before the master waits for one would be forgotten.
	if err := n.Until(ctx, func(ctx context.Context) error {
		_, err := ask(ctx, n.Path(masterSocket), "show proc")
		return err
	}); err != nil {
		return err
	}
	if err := n.Until(ctx, func(ctx context.Context) error { return p.holds(ctx, n, "", pods) }); err != nil {
		return err
	}
	return p.setStates(ctx, n, nil, pods)
}

// SetPods uses the runtime API where it can.
func (p *product) SetPods(ctx context.Context, n *fleet.Node, from, to []gateway.Pod) error {
	same := slices.EqualFunc(from, to, func(a, b gateway.Pod) bool { return a.Name == b.Name && a.Address == b.Address })
	var err error
	switch {
	case same:
	case p.table:
		err = p.setServers(ctx, n, from, to)
	default:
		err = p.reload(ctx, n, from, to)
	}
	if err != nil {
		return err
	}
	return p.setStates(ctx, n, from, to)
}

// Reload reloads; one of a table is over when the next would keep the table, too.
func (p *product) Reload(ctx context.Context, n *fleet.Node, pods []gateway.Pod) error {
	return p.reload(ctx, n, pods, pods)
}

// setStates drains and undrains.
func (p *product) setStates(ctx context.Context, n *fleet.Node, from, to []gateway.Pod) error {
	before := map[string]gateway.State{}
	for _, pod := range from {
		before[pod.Name] = pod.State
	}
	for _, pod := range to {
		draining := pod.State == gateway.Draining
		if draining == (before[pod.Name] == gateway.Draining) {
			continue
		}
		state := "ready"
		if draining {
			state = "drain"
		}
		if err := expect(ctx, n, "", "set server pods/"+pod.Name+" state "+state); err != nil {
			return err
		}
	}
	return nil
}

// reload has the master start a worker that takes over the listeners, and returns when that
// one answers.
func (p *product) reload(ctx context.Context, n *fleet.Node, from, to []gateway.Pod) error {
	worker, err := pid(ctx, n)
	if err != nil {
		return err
	}
	if err := saveStates(ctx, n, from, to); err != nil {
		return err
	}
	if err := n.Fill(configuration, p.configuration, p.health, to); err != nil {
		return err
	}
	if err := syscall.Kill(n.Main().Pid(), syscall.SIGUSR2); err != nil {
		return err
	}
	return n.Until(ctx, func(ctx context.Context) error { return p.holds(ctx, n, worker, to) })
}

// saveStates keeps what is known of the servers for the next worker. A server that moves
// is left out: the file would give it its old address.
func saveStates(ctx context.Context, n *fleet.Node, from, to []gateway.Pod) error {
	answer, err := command(ctx, n, "show servers state")
	if err != nil {
		return err
	}
	var kept []string
	for line := range strings.Lines(answer) {
		fields := strings.Fields(line)
		if len(fields) > 3 && fields[1] == "pods" && !slices.ContainsFunc(to, func(pod gateway.Pod) bool {
			return pod.Name == fields[3] && slices.ContainsFunc(from, func(old gateway.Pod) bool { return old.Name == pod.Name && old.Address == pod.Address })
		}) {
			continue
		}
		kept = append(kept, line)
	}
	return n.Write(states, []byte(strings.Join(kept, "")+"\n")) // a file that ends within a line is refused
}

// holds reports nil once a worker other than the old one has these servers.
func (p *product) holds(ctx context.Context, n *fleet.Node, old string, pods []gateway.Pod) error {
	worker, err := pid(ctx, n)
	if err != nil {
		return err
	}
	if worker == old {
		return errors.New("the old worker still answers")
	}
	answer, err := command(ctx, n, "show servers state pods")
	if err != nil {
		return err
	}
	var names []string
	for line := range strings.Lines(answer) {
		if fields := strings.Fields(line); len(fields) > 3 && fields[1] == "pods" {
			names = append(names, fields[3])
		}
	}
	if len(names) != len(pods) {
		return fmt.Errorf("it has the servers %v", names)
	}
	if p.table {
		return synchronized(ctx, n)
	}
	return nil
}
