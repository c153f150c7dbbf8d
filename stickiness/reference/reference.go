// Package reference is a gateway that is right: a reverse proxy in the suite's own
// process with one table, session → pod, that nothing but Close ends. It is what
// the suite is tested with, by being spoiled, and shows that every schedule can be
// passed.
package reference

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

// The headers of the reference.
const (
	keyHeader    = "X-Session-Id"
	reasonHeader = "X-Reason"
)

// Spoil makes it wrong in one way. All may be nil.
type Spoil struct {
	// Route may send the n-th request to another pod of all than the right one.
	Route func(n int64, right string, all []string) string
	// Outgoing may change what the pod gets.
	Outgoing func(h http.Header)
	// Instead may answer a request itself, and reports whether it did. It is told
	// the session's pod, and whether that may serve.
	Instead func(w http.ResponseWriter, r *http.Request, pod string, able bool) bool
}

// Adapter is the reference, spoiled or not.
func Adapter(spoil Spoil) gateway.Adapter {
	return gateway.Adapter{
		Name: "reference", Description: "the suite's own proxy, which is right: one table in memory",
		Key:          gateway.Key{Kind: gateway.Header, Name: keyHeader},
		ReasonHeader: reasonHeader,
		Without:      map[gateway.Feature]string{gateway.ControlPlaneApart: "it is one process"},
		Available:    func(context.Context) error { return nil },
		Start: func(_ context.Context, o gateway.Options) (gateway.Gateway, error) {
			return start(o, spoil)
		},
	}
}

// set is the gateways over one table.
type set struct {
	table   *table
	proxy   *proxy
	fronts  []*front
	stop    context.CancelFunc
	checker sync.WaitGroup
}

func start(o gateway.Options, spoil Spoil) (*set, error) {
	ctx, stop := context.WithCancel(context.Background())
	s := &set{table: newTable(o.Pods), stop: stop}
	s.proxy = newProxy(s.table, spoil)
	for range o.Gateways {
		f, err := newFront(s.proxy)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.fronts = append(s.fronts, f)
	}
	s.checker.Go(func() { s.table.check(ctx, o.Health) })
	return s, nil
}

func (s *set) Addresses() []string {
	var out []string
	for _, f := range s.fronts {
		out = append(out, f.address)
	}
	return out
}

func (s *set) SetPods(_ context.Context, pods []gateway.Pod) error {
	s.table.set(pods)
	return nil
}

// Reload has nothing to read anew.
func (s *set) Reload(context.Context) error { return nil }

func (s *set) Kill(_ context.Context, i int) error {
	s.fronts[i].close()
	return nil
}

func (s *set) Restart(ctx context.Context, i int) error {
	if err := gateway.Poll(ctx, func(context.Context) error { return s.fronts[i].open() }); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	return nil
}

func (s *set) Close() error {
	s.stop()
	for _, f := range s.fronts {
		f.close()
	}
	s.checker.Wait()
	s.proxy.copies.Wait()
	s.proxy.http1.CloseIdleConnections()
	s.proxy.http2.CloseIdleConnections()
	return nil
}
