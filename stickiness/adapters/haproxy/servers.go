package haproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/stateful-route/stateful-route/stickiness/adapters/fleet"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

// setServers adds, moves and deletes servers by the runtime API, and keeps the
// configuration file in step.
func (p *product) setServers(ctx context.Context, n *fleet.Node, from, to []gateway.Pod) error {
	before := map[string]string{}
	for _, pod := range from {
		before[pod.Name] = pod.Address
	}
	for _, pod := range to {
		address, found := before[pod.Name]
		delete(before, pod.Name)
		var err error
		switch {
		case !found:
			err = p.add(ctx, n, pod)
		case address != pod.Address:
			err = move(ctx, n, pod)
		}
		if err != nil {
			return fmt.Errorf("server %s: %w", pod.Name, err)
		}
	}
	for name := range before {
		if err := remove(ctx, n, name); err != nil {
			return fmt.Errorf("server %s: %w", name, err)
		}
	}
	return n.Fill(configuration, p.configuration, p.health, to)
}

// add says all of a server anew: a dynamic one has nothing of `default-server`.
func (p *product) add(ctx context.Context, n *fleet.Node, pod gateway.Pod) error {
	if err := expect(ctx, n, "New server registered", fmt.Sprintf("add server pods/%s %s check check-proto h1 inter %dms fall %d rise %d proto h2 ws h1",
		pod.Name, pod.Address, p.health.Interval.Milliseconds(), p.health.UnhealthyAfter, p.health.HealthyAfter)); err != nil {
		return err
	}
	if err := expect(ctx, n, "", "enable health pods/"+pod.Name); err != nil {
		return err
	}
	return expect(ctx, n, "", "enable server pods/"+pod.Name)
}

func move(ctx context.Context, n *fleet.Node, pod gateway.Pod) error {
	ip, port, err := net.SplitHostPort(pod.Address)
	if err != nil {
		return err
	}
	// It says what it changed.
	return expect(ctx, n, port, fmt.Sprintf("set server pods/%s addr %s port %s", pod.Name, ip, port))
}

// remove ends what a server has, which it must not have to be deleted.
func remove(ctx context.Context, n *fleet.Node, name string) error {
	if err := expect(ctx, n, "", "set server pods/"+name+" state maint"); err != nil {
		return err
	}
	return n.Until(ctx, func(ctx context.Context) error {
		if err := expect(ctx, n, "", "shutdown sessions server pods/"+name); err != nil {
			return err
		}
		return expect(ctx, n, "Server deleted", "del server pods/"+name)
	})
}

// expect gives an order and wants an answer that has the text, or none where text is empty.
func expect(ctx context.Context, n *fleet.Node, text, order string) error {
	answer, err := command(ctx, n, order)
	if err != nil {
		return err
	}
	if text == "" && answer != "" || !strings.Contains(answer, text) {
		return fmt.Errorf("%s: %s", order, answer)
	}
	return nil
}

// learned are the flags of `show peers` of a worker that has learned from the worker
// before it and from the other peers, or waited for them in vain. Before that, some ten
// seconds after a start without others, it would tell a next worker nothing.
const learned = 0x3

func synchronized(ctx context.Context, n *fleet.Node) error {
	answer, err := command(ctx, n, "show peers")
	if err != nil {
		return err
	}
	_, rest, found := strings.Cut(answer, "flags=0x")
	field, _, _ := strings.Cut(rest, " ")
	if !found || field == "" {
		return fmt.Errorf("show peers: %q", answer)
	}
	flags, err := strconv.ParseUint(field, 16, 32)
	if err != nil {
		return fmt.Errorf("show peers: %w", err)
	}
	if flags&learned != learned {
		return errors.New("the peers do not know each other's tables yet")
	}
	return nil
}
