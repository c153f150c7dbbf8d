package xds_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds"
	"github.com/stateful-route/stateful-route/xds/state"
)

func chatOn(addresses ...string) statefulroute.Service {
	chat := statefulroute.Service{Name: "chat", Hosts: []string{"*"}, Prefix: "/"}
	for i, at := range addresses {
		chat.Pods.Static = append(chat.Pods.Static, statefulroute.Pod{Name: fmt.Sprintf("chat-%d", i), Address: netip.MustParseAddrPort(at), Weight: 1})
	}
	return chat
}

// A server is one loop. What it is told is in force when the call returns.
func Example() {
	srv, err := xds.New(xds.Options{Logger: zap.NewNop(), Observer: silent{}, Boot: "1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()

	gateway := state.Gateway{Listeners: []state.Listener{{Address: "0.0.0.0:10000"}}, Extprocs: []string{"127.0.0.1:18080"}}
	err = errors.Join(
		srv.SetConfig(ctx, gateway, []statefulroute.Service{chatOn("10.0.0.7:80", "10.0.0.8:80")}, nil),
		srv.SetOverride(ctx, "chat", "chat-1", statefulroute.Draining),
	)
	for _, m := range srv.Model().Services[0].Members {
		fmt.Println(m.Name, m.State)
	}
	cancel()
	fmt.Println(errors.Join(err, <-ended))
	// Output:
	// chat-0 ready
	// chat-1 draining
	// <nil>
}

// A pod moves to another address: Envoys get the new one beside the old one, extprocs
// are told once Envoys have answered, and Envoys lose the old one at the end.
func ExampleRollout() {
	store, rollout, now := state.NewStore(), xds.Rollout{AckTimeout: time.Second}, time.Unix(0, 0)
	publish := func() {
		for {
			pubs, _ := rollout.Next(now, func(wire.ClientType) xds.Progress { return xds.Progress{Acked: xds.AllAcked} })
			if len(pubs) == 0 {
				return
			}
			for _, p := range pubs {
				if p.View != nil {
					fmt.Printf("%s:", p.To)
					for _, m := range p.View.Members {
						fmt.Printf(" %s is %s", m.Address, m.State)
					}
					fmt.Println()
				}
			}
		}
	}
	set := func(chat statefulroute.Service) {
		change, err := store.Edit(func(s *state.Store) error {
			s.SetConfig(now, state.Gateway{}, []statefulroute.Service{chat})
			return nil
		}, func(state.Model, state.Change) error { return nil })
		if err != nil {
			fmt.Println(err)
		}
		rollout.Set(now, store.Model(), change.Services, change.Gone)
		publish()
	}
	set(chatOn("10.0.0.7:80"))
	fmt.Println("it moves")
	set(chatOn("10.0.0.8:80"))
	// Output:
	// envoy: 10.0.0.7:80 is ready
	// extproc: 10.0.0.7:80 is ready
	// it moves
	// envoy: 10.0.0.8:80 is ready 10.0.0.7:80 is draining
	// extproc: 10.0.0.8:80 is ready
	// envoy: 10.0.0.8:80 is ready
}
