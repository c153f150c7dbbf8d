package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/xdsclients"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds"
	"github.com/stateful-route/stateful-route/xds/state"
)

// fleet is a server of services with pods, and its clients.
type fleet struct {
	server  *xds.Server
	address string
	group   *errgroup.Group
	stop    context.CancelFunc
	clients []*xdsclients.Client
}

type nobody struct{}

func (nobody) XDSPush(string, time.Duration)           {}
func (nobody) XDSNack(string)                          {}
func (nobody) Suspect(context.Context, string, string) {}

func newFleet(ctx context.Context, services, pods int) (*fleet, error) {
	server, err := xds.New(xds.Options{Logger: zap.NewNop(), Observer: nobody{}, Boot: "bench"})
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	f := &fleet{server: server, address: listener.Addr().String(), group: &errgroup.Group{}, stop: stop}
	f.group.Go(func() error { return server.Run(ctx) })
	f.group.Go(func() error { return server.Serve(ctx, listener) })
	if err := f.configure(ctx, services, pods); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *fleet) close() {
	for _, c := range f.clients {
		c.Stop()
	}
	f.stop()
	_ = f.group.Wait() // ended by stop
}

// add connects a client.
func (f *fleet) add(ctx context.Context, o xdsclients.Options) error {
	o.Address = f.address
	c, err := xdsclients.Start(ctx, o)
	if err == nil {
		f.clients = append(f.clients, c)
	}
	return err
}

// pair connects an Envoy and an extproc that do as they should.
func (f *fleet) pair(ctx context.Context) error {
	for _, agent := range []string{"envoy", wire.UserAgent} {
		if err := f.add(ctx, xdsclients.Options{Protocol: "delta", Agent: agent, Kind: xdsclients.Good}); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) configure(ctx context.Context, services, pods int) error {
	list := make([]statefulroute.Service, services)
	for i := range list {
		list[i] = service(i, pods)
	}
	return f.server.SetConfig(ctx, state.Gateway{
		Listeners: []state.Listener{{Address: "0.0.0.0:10000"}}, Extprocs: []string{"127.0.0.1:18080"}, MessageTimeout: 200 * time.Millisecond,
	}, list, nil)
}

func service(i, pods int) statefulroute.Service {
	name := fmt.Sprintf("service-%d", i)
	svc := statefulroute.Service{
		Name: name, Hosts: []string{name + ".test"}, Prefix: "/",
		Session: statefulroute.SessionPolicy{
			Key: []statefulroute.SessionSource{{Kind: statefulroute.FromHeader, Name: "x-session-id"}}, OnPodLoss: statefulroute.Rebind,
		},
		Balancing: statefulroute.BalancingPolicy{Strategy: "least_response_time", ResponseTimeWindow: 30 * time.Second, SlowStart: 30 * time.Second},
	}
	for p := range pods {
		at := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(p % 250)})
		svc.Pods.Static = append(svc.Pods.Static, statefulroute.Pod{
			Name: fmt.Sprintf("%s-%d", name, p), Address: netip.AddrPortFrom(at, uint16(80+p/250)), Weight: 1,
		})
	}
	return svc
}
