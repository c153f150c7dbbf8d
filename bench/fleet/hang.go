package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/stateful-route/stateful-route/internal/xdsclients"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/state"
)

// witness waits for what a client is told of one pod.
type witness struct {
	mu    sync.Mutex
	now   corev3.HealthStatus
	check func(corev3.HealthStatus) bool
	done  chan time.Time
}

const watched = "service-0-7"

func (w *witness) see(a *endpointv3.ClusterLoadAssignment) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range a.Endpoints {
		for _, e := range l.LbEndpoints {
			if e.GetMetadata().GetFilterMetadata()[wire.Namespace].GetFields()["pod"].GetStringValue() == watched {
				w.now = e.HealthStatus
			}
		}
	}
	w.tellLocked()
}

func (w *witness) tellLocked() {
	if w.check != nil && w.check(w.now) {
		w.check = nil
		w.done <- time.Now()
	}
}

// await has done signalled once the client knows.
func (w *witness) await(check func(corev3.HealthStatus) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.check = check
	w.tellLocked()
}

// hang measures how long a pod's end and its return take to be in effect beside
// clients that hang: extprocs do not choose it, Envoys send it nothing new; and
// the other way round. Another pod changes twenty times a second meanwhile.
func hang(ctx context.Context, samples int) error {
	fmt.Printf("a pod's end, and its return, until in effect at two Envoys and two extprocs (delta, sotw), %d changes a row\n", samples)
	fmt.Println("| clients | that are | end: median | p99 | most | return: median | p99 | most |\n|---|---|---|---|---|---|---|---|")
	kinds := append([]xdsclients.Kind{xdsclients.Good}, xdsclients.Hanging()...)
	for _, kind := range kinds {
		for _, n := range []int{1, 10, 100} {
			if err := hangBeside(ctx, kind, n, samples); err != nil {
				return fmt.Errorf("%d %s: %w", n, kind, err)
			}
		}
	}
	return nil
}

func hangBeside(ctx context.Context, kind xdsclients.Kind, n, samples int) error {
	f, err := newFleet(ctx, 1, 200)
	if err != nil {
		return err
	}
	defer f.close()
	var all []*witness
	for i := range 4 + n {
		o := xdsclients.Options{Protocol: []string{"delta", "sotw"}[i%2], Agent: []string{"envoy", wire.UserAgent}[i/2%2], Kind: kind}
		if i < 4 {
			w := &witness{done: make(chan time.Time, 1)}
			all = append(all, w)
			o.Kind, o.Seen = xdsclients.Good, w.see
		}
		if err := f.add(ctx, o); err != nil {
			return err
		}
	}
	stop := f.busy(ctx)
	defer stop()
	var took [2][]time.Duration
	for i := range samples {
		healthy := i%2 == 1
		d, err := f.untilKnown(ctx, all, healthy)
		if err != nil {
			return err
		}
		took[i%2] = append(took[i%2], d)
	}
	if len(took[1]) == 0 {
		return nil
	}
	m0, p0, x0 := spread(took[0])
	m1, p1, x1 := spread(took[1])
	r := func(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
	fmt.Printf("| %d | %s | %v | %v | %v | %v | %v | %v |\n", n, kind, r(m0), r(p0), r(x0), r(m1), r(p1), r(x1))
	return nil
}

func (f *fleet) untilKnown(ctx context.Context, all []*witness, healthy bool) (time.Duration, error) {
	began := time.Now()
	if err := f.server.SetHealth(ctx, map[string]map[string]state.HealthVerdict{"service-0": {watched: {Healthy: healthy}}}); err != nil {
		return 0, err
	}
	for _, w := range all {
		w.await(func(s corev3.HealthStatus) bool { return (s == corev3.HealthStatus_HEALTHY) == healthy })
	}
	var last time.Time
	for _, w := range all {
		select {
		case at := <-w.done:
			if at.After(last) {
				last = at
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(2 * time.Minute):
			return 0, errors.New("not in effect after two minutes")
		}
	}
	return last.Sub(began), nil
}

// busy changes another pod twenty times a second.
func (f *fleet) busy(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				_ = f.server.SetHealth(ctx, map[string]map[string]state.HealthVerdict{"service-0": {"service-0-150": {Healthy: i%2 == 0}}}) // ends with ctx
			}
		}
	}()
	return func() { cancel(); <-done }
}
