package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/affinity/shared"
	"github.com/stateful-route/stateful-route/affinity/shared/valkeystore"
	"github.com/stateful-route/stateful-route/extproc"
	"github.com/stateful-route/stateful-route/insight/metrics"
	"github.com/stateful-route/stateful-route/wire"
)

// store is a Redis or Valkey of this machine.
type store struct {
	address string
	stop    func()
}

func startStore(ctx context.Context) (*store, error) {
	path, err := exec.LookPath("valkey-server")
	if err != nil {
		if path, err = exec.LookPath("redis-server"); err != nil {
			return nil, errors.New("neither valkey-server nor redis-server is installed")
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", dir) //nolint:gosec // a server that was looked up
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return &store{address, func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = os.RemoveAll(dir)
	}}, nil
}

// fleet are replicas of one service, each a gRPC server of its own.
type fleet struct {
	replicas []extprocv3.ExternalProcessorClient
	store    string // its server's address; empty: it has none
	stops    []func()
}

func (f *fleet) stop() {
	for _, stop := range slices.Backward(f.stops) {
		stop()
	}
}

// lease is the default one.
const lease = shared.DefaultLease

// startFleet starts replicas that share a store or, where address is empty, one without.
func startFleet(ctx context.Context, address, prefix string, replicas int) (*fleet, error) {
	f := &fleet{store: address}
	for i := range replicas {
		if err := f.add(ctx, address, prefix, "replica-"+strconv.Itoa(i)); err != nil {
			f.stop()
			return nil, err
		}
	}
	return f, nil
}

func (f *fleet) add(ctx context.Context, address, prefix, name string) error {
	table, idle, err := f.table(ctx, address, prefix, name)
	if err != nil {
		return err
	}
	monitor, err := metrics.NewMonitor(metrics.MonitorOptions{Process: "bench"})
	if err != nil {
		return err
	}
	directory, err := extproc.NewDirectory(extproc.DirectoryOptions{Monitor: monitor, IdleTimeouts: idle, DefaultIdleTimeout: time.Hour})
	if err != nil {
		return err
	}
	svc := statefulroute.Service{Name: "chat", Session: statefulroute.SessionPolicy{
		Key:       []statefulroute.SessionSource{{Kind: statefulroute.FromHeader, Name: "x-session-id"}},
		OnPodLoss: statefulroute.Rebind, OnExtprocLoss: statefulroute.Allow, OnStoreLoss: statefulroute.DenyStoreLoss,
	}, Balancing: statefulroute.BalancingPolicy{Strategy: "round_robin"}}
	state := wire.ServiceState{Service: svc}
	for i := range 3 {
		state.Pods = append(state.Pods, statefulroute.Pod{
			Name: fmt.Sprintf("chat-%d", i), Address: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(9100+i)), Weight: 1,
		})
	}
	directory.Set([]wire.ServiceState{state}, true)
	server, err := extproc.NewServer(extproc.ServerOptions{Directory: directory, Table: table})
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	g := extproc.NewGRPCServer(server)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = g.Serve(l) // until it is stopped
	}()
	f.stops = append(f.stops, func() { g.Stop(); <-served })
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	f.stops = append(f.stops, func() { _ = conn.Close() })
	f.replicas = append(f.replicas, extprocv3.NewExternalProcessorClient(conn))
	return nil
}

func (f *fleet) table(ctx context.Context, address, prefix, name string) (extproc.Table, extproc.IdleTimeouts, error) {
	if address == "" {
		local, err := affinity.New(affinity.Options{})
		return extproc.MemoryTable{Table: local}, local, err
	}
	store, err := valkeystore.New(valkeystore.Options{
		Addresses: []string{address}, Prefix: prefix, Lease: lease, Replica: name,
	})
	if err != nil {
		return nil, nil, err
	}
	uses := &shared.Uses{}
	local, err := affinity.New(affinity.Options{Journal: uses, ForgetEvicted: true, JournalSteps: shared.JournalSteps})
	if err != nil {
		return nil, nil, err
	}
	table, err := shared.New(shared.Options{Store: store, Local: local, Uses: uses, Replica: name, Lease: lease, CallTimeout: time.Second})
	if err != nil {
		return nil, nil, err
	}
	running, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = table.Run(running) // its end is that of the measurement
	}()
	f.stops = append(f.stops, func() { cancel(); <-done; store.Close() })
	select {
	case <-table.Opened():
		return table, table, nil
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// sample is one measurement.
type sample struct {
	rate, calls float64 // callouts a second; scripts that the store's server ran for each
	p50, p99    time.Duration
}

// load makes n callouts, or as many as there is time for.
func (f *fleet) load(ctx context.Context, clients, n int, d time.Duration, key func(int) string) (sample, error) {
	var next, done atomic.Int64
	var mu sync.Mutex
	var took []time.Duration
	var failed error
	before, err := scriptsRun(ctx, f.store)
	if err != nil {
		return sample{}, err
	}
	began := time.Now()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			var mine []time.Duration
			var err error
			for err == nil && ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if d == 0 && i >= n || d > 0 && time.Since(began) >= d {
					break
				}
				at := time.Now()
				err = callout(ctx, f.replicas[(c+i)%len(f.replicas)], key(i))
				mine = append(mine, time.Since(at))
				done.Add(1)
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
			failed = errors.Join(failed, err)
		})
	}
	wg.Wait()
	ended := time.Since(began)
	slices.Sort(took)
	after, err := scriptsRun(ctx, f.store)
	if err != nil {
		return sample{}, err
	}
	s := sample{rate: float64(done.Load()) / ended.Seconds(), calls: float64(after-before) / float64(max(done.Load(), 1))}
	if len(took) > 0 {
		s.p50, s.p99 = took[len(took)/2], took[len(took)*99/100]
	}
	return s, failed
}

// scriptsRun is how many scripts a server says it has run: those of all replicas' sessions, leases
// and logs. Each call of the store is one. Without a server it is none.
func scriptsRun(ctx context.Context, address string) (int64, error) {
	if address == "" {
		return 0, nil
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, fmt.Errorf("ask the store's server: %w", err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("INFO commandstats\r\nQUIT\r\n")); err != nil {
		return 0, fmt.Errorf("ask the store's server: %w", err)
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		return 0, fmt.Errorf("ask the store's server: %w", err)
	}
	_, line, _ := strings.Cut(string(text), "cmdstat_evalsha:calls=")
	calls, _, found := strings.Cut(line, ",")
	if !found {
		return 0, nil // it has run none
	}
	n, err := strconv.ParseInt(calls, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("ask the store's server: %w", err)
	}
	return n, nil
}

func callout(ctx context.Context, to extprocv3.ExternalProcessorClient, key string) error {
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(ctx, wire.ServiceMetadata, "chat"))
	defer cancel()
	stream, err := to.Process(ctx)
	if err != nil {
		return err
	}
	header := func(name, value string) *corev3.HeaderValue {
		return &corev3.HeaderValue{Key: name, RawValue: []byte(value)}
	}
	if err := stream.Send(&extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{
		RequestHeaders: &extprocv3.HttpHeaders{Headers: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
			header(":method", "GET"), header(":path", "/"), header("x-session-id", key),
		}}},
	}}); err != nil {
		return err
	}
	answer, err := stream.Recv()
	if err != nil {
		return err
	}
	if answer.GetRequestHeaders() == nil {
		return fmt.Errorf("refused: %v", answer)
	}
	return nil
}
