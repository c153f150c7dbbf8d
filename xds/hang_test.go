package xds_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/xdsclients"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds"
	"github.com/stateful-route/stateful-route/xds/state"
)

type silent struct{}

func (silent) XDSPush(string, time.Duration) {}
func (silent) XDSNack(string)                {}

// listen starts a server with a service of many pods.
func listen(t *testing.T, pods int, opts xds.Options) (*xds.Server, string) {
	t.Helper()
	opts.Logger, opts.Observer, opts.Boot = zap.NewNop(), silent{}, "a"
	srv, err := xds.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- srv.Run(ctx) }()
	go func() { ended <- srv.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	svc := statefulroute.Service{
		Name: "chat", Hosts: []string{"*"}, Prefix: "/",
		Session:   statefulroute.SessionPolicy{Key: []statefulroute.SessionSource{{Kind: statefulroute.FromHeader, Name: "x-session-id"}}, OnPodLoss: statefulroute.Rebind},
		Balancing: statefulroute.BalancingPolicy{Strategy: "home_hcl"},
	}
	for i := range pods {
		svc.Pods.Static = append(svc.Pods.Static, statefulroute.Pod{
			Name: fmt.Sprintf("chat-%d", i), Weight: 1, Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80),
		})
	}
	gateway := state.Gateway{Listeners: []state.Listener{{Address: "0.0.0.0:10000"}}, Extprocs: []string{"127.0.0.1:18080"}, MessageTimeout: 50 * time.Millisecond}
	if err := srv.SetConfig(t.Context(), gateway, []statefulroute.Service{svc}, nil); err != nil {
		t.Fatal(err)
	}
	return srv, listener.Addr().String()
}

// view is what a client knows of pods.
type view struct {
	mu     sync.Mutex
	status map[string]corev3.HealthStatus
}

func (v *view) see(a *endpointv3.ClusterLoadAssignment) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.status = map[string]corev3.HealthStatus{}
	for _, l := range a.Endpoints {
		for _, e := range l.LbEndpoints {
			pod, err := wire.DecodePod(e.Metadata.FilterMetadata[wire.Namespace], netip.AddrPort{}, "")
			if err == nil {
				v.status[pod.Name] = e.HealthStatus
			}
		}
	}
}

func (v *view) of(pod string) corev3.HealthStatus {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.status[pod]
}

func start(t *testing.T, opts xdsclients.Options) {
	t.Helper()
	c, err := xdsclients.Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
}

// Whatever a client does, the others learn of a pod's end, and of its return,
// also while something else changes all the time.
func TestAClientThatHangsHoldsUpNobody(t *testing.T) {
	for _, kind := range xdsclients.Hanging() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			srv, address := listen(t, 300, xds.Options{AckTimeout: 200 * time.Millisecond})
			var good []*view
			for _, agent := range []string{"envoy", wire.UserAgent} {
				for _, protocol := range []string{"delta", "sotw"} {
					v := &view{}
					good = append(good, v)
					start(t, xdsclients.Options{Address: address, Protocol: protocol, Agent: agent, Kind: xdsclients.Good, Seen: v.see})
					for range 2 {
						start(t, xdsclients.Options{Address: address, Protocol: protocol, Agent: agent, Kind: kind})
					}
				}
			}
			stop := busy(t, srv)
			defer stop()
			for range 3 {
				for _, healthy := range []bool{false, true} {
					want := map[bool]corev3.HealthStatus{true: corev3.HealthStatus_HEALTHY, false: corev3.HealthStatus_UNHEALTHY}[healthy]
					if err := srv.SetHealth(t.Context(), map[string]map[string]state.HealthVerdict{"chat": {"chat-7": {Healthy: healthy}}}); err != nil {
						t.Fatal(err)
					}
					await(t, fmt.Sprintf("healthy %v", healthy), func() bool {
						return !slices.ContainsFunc(good, func(v *view) bool { return v.of("chat-7") != want })
					})
				}
			}
			lagging := func(s xds.ClientStatus) bool { return s.Lagging }
			if kind != xdsclients.Refusing && kind != xdsclients.Reconnecting && !slices.ContainsFunc(srv.Clients(), lagging) {
				t.Errorf("nobody lags: %+v", srv.Clients())
			}
		})
	}
}

// busy changes another pod twenty times a second, until it is stopped.
func busy(t *testing.T, srv *xds.Server) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
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
				if err := srv.SetHealth(ctx, map[string]map[string]state.HealthVerdict{"chat": {"chat-200": {Healthy: i%2 == 0}}}); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		}
	}()
	return func() { cancel(); <-done }
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
