package grpclimit

import (
	"context"
	"net"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/stateful-route/stateful-route/internal/connlimit"
	"github.com/stateful-route/stateful-route/internal/rawgrpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const watch = "/grpc.health.v1.Health/Watch"

// bounded is a health service behind a guard.
type bounded struct {
	*Guard
	t       testing.TB
	address string
	logs    *observer.ObservedLogs
}

func serve(t testing.TB, o Options) *bounded {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	o.Log = zap.New(core)
	if o.MessageSize == 0 {
		o.MessageSize = 4 << 10
	}
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(g.ServerOptions()...)
	healthv1.RegisterHealthServer(server, health.NewServer())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(g.Listener(l)) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &bounded{g, t, l.Addr().String(), logs}
}

// client is a well-behaved client with one stream.
type client struct {
	healthv1.HealthClient
	stream healthv1.Health_WatchClient
}

func (b *bounded) client() *client {
	b.t.Helper()
	conn, err := grpc.NewClient(b.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	c := &client{HealthClient: healthv1.NewHealthClient(conn)}
	c.stream = c.watch(b.t)
	return c
}

func (c *client) watch(t testing.TB) healthv1.Health_WatchClient {
	t.Helper()
	s, err := c.Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err == nil {
		_, err = s.Recv()
	}
	if err != nil {
		t.Fatalf("a client within its bounds is refused: %v", err)
	}
	return s
}

// works fails the test unless the client's stream is open and it is served.
func (c *client) works(t *testing.T) {
	t.Helper()
	if _, err := c.Check(t.Context(), &healthv1.HealthCheckRequest{}); err != nil {
		t.Errorf("the client that was there is not served: %v", err)
	}
	if err := c.stream.Context().Err(); err != nil {
		t.Errorf("the client that was there lost its stream: %v", err)
	}
}

func (b *bounded) refusedBy(limit string) int {
	return counted(b.Guard, limit)
}

func counted(g *Guard, limit string) int {
	var m dto.Metric
	if err := g.refusals.total.WithLabelValues(limit).Write(&m); err != nil {
		return -1
	}
	return int(m.GetCounter().GetValue())
}

// One connection takes all streams it can get, and more. It is refused with a
// status; the others have their part all the same, those that come later too.
func TestStreamsBeyondTheLimitAreRefused(t *testing.T) {
	b := serve(t, Options{Connections: 10, Streams: 60}) // 3 for each connection, 30 for all
	old := b.client()
	greedy := rawgrpc.Dial(t, "tcp", b.address)
	for range 100 {
		greedy.Send(greedy.Open(watch), &healthv1.HealthCheckRequest{})
	}
	rawgrpc.Eventually(t, "the rest is refused", func() bool { return greedy.Status(codes.ResourceExhausted) == 100-33 })
	if n := b.open.Load(); n != 34 {
		t.Errorf("%d streams are open, want 34", n)
	}
	if n := b.refusedBy(limitStreams); n != 100-33 {
		t.Errorf("%d refusals counted, want %d", n, 100-33)
	}
	if n := b.logs.Len(); n != 1 {
		t.Errorf("%d lines logged, want 1", n)
	}
	for _, c := range []*client{old, b.client()} {
		c.works(t)
		c.watch(t) // the second of three
	}
	// What is given back can be had again.
	greedy.Close()
	rawgrpc.Eventually(t, "the streams end", func() bool { return b.open.Load() == 4 })
	again := b.client()
	for range 30 {
		again.watch(t)
	}
	old.works(t)
}

// Connections beyond the limit are closed; a place that is left is given away.
func TestConnectionsBeyondTheLimitAreClosed(t *testing.T) {
	b := serve(t, Options{Connections: 4, Streams: 40})
	old := b.client()
	within := []*rawgrpc.Conn{}
	for range 3 {
		c := rawgrpc.Dial(t, "tcp", b.address)
		c.Send(c.Open(watch), &healthv1.HealthCheckRequest{})
		within = append(within, c)
	}
	rawgrpc.Eventually(t, "they are connected", func() bool { return b.open.Load() == 4 })
	for range 20 {
		c := rawgrpc.Dial(t, "tcp", b.address)
		rawgrpc.Eventually(t, "the connection is closed", c.Gone)
	}
	if n := b.refusedBy(connlimit.All); n < 20 { // a client may have tried twice
		t.Errorf("%d refusals counted, want 20", n)
	}
	old.works(t)
	within[0].Close()
	rawgrpc.Eventually(t, "its place is free", func() bool { return b.conns.Open() == 3 })
	b.client().works(t)
}

func TestLargeMessagesAreRefused(t *testing.T) {
	b := serve(t, Options{Connections: 4, Streams: 40})
	old := b.client()
	long := strings.Repeat("x", 5<<10)
	s, err := old.Watch(t.Context(), &healthv1.HealthCheckRequest{Service: long})
	if err == nil {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.ResourceExhausted || b.refusedBy(limitMessageSize) != 1 {
		t.Errorf("a message of 5 KiB: %v, counted %d", err, b.refusedBy(limitMessageSize))
	}
	if _, err := old.Check(t.Context(), &healthv1.HealthCheckRequest{Service: long[:1000]}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a name of 1,000 bytes: %v", err)
	}
	s, err = old.Watch(t.Context(), &healthv1.HealthCheckRequest{Service: long[:1000]})
	if err == nil {
		_, err = s.Recv()
	}
	if status.Code(err) != codes.InvalidArgument || b.refusedBy(limitNameLength) != 2 {
		t.Errorf("a name of 1,000 bytes: %v, counted %d", err, b.refusedBy(limitNameLength))
	}
	// Headers are kept as long as the stream.
	raw := rawgrpc.Dial(t, "tcp", b.address)
	raw.Open(watch, "x-long", strings.Repeat("x", 15<<10)) // must fit a frame
	raw.Open(watch, "x-a", strings.Repeat("x", 8<<10), "x-b", strings.Repeat("y", 8<<10))
	rawgrpc.Eventually(t, "the stream with long headers is reset", func() bool { return raw.Ended() == 1 })
	old.works(t)
}

// recorder is an inspector that refuses the second message and is slow to hear
// of the end.
type recorder struct{ received, ended int }

func (r *recorder) Received(any) *Refusal {
	if r.received++; r.received > 1 {
		return Refuse("second", codes.InvalidArgument, "one message is enough")
	}
	return nil
}

func (r *recorder) Ended() { r.ended++ }

// A handler that receives in a goroutine of its own, and ends without passing on
// why, as go-control-plane's do: the client hears of the refusal all the same.
func TestARefusalIsTheStatusWhateverTheHandlerReturns(t *testing.T) {
	seen := &recorder{}
	g, err := New(Options{Connections: 1, Streams: 1, MessageSize: 1, Inspect: func(string) Inspector { return seen }})
	if err != nil {
		t.Fatal(err)
	}
	handler := func(_ any, s grpc.ServerStream) error {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for s.RecvMsg(nil) == nil {
			}
		}()
		<-ended
		return nil
	}
	err = g.stream(nil, &endless{ctx: t.Context()}, &grpc.StreamServerInfo{}, handler)
	if status.Code(err) != codes.InvalidArgument || counted(g, "second") != 1 {
		t.Errorf("the stream ended with %v", err)
	}
	if seen.ended != 1 || seen.received != 2 {
		t.Errorf("%+v", seen)
	}
}

// endless is a stream on which messages never end.
type endless struct {
	grpc.ServerStream
	ctx context.Context
}

func (e *endless) Context() context.Context { return e.ctx }
func (e *endless) RecvMsg(any) error        { return nil }

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{
		{Streams: 1, MessageSize: 1}, {Connections: 2, Streams: 1, MessageSize: 1}, {Connections: 1, Streams: 1},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
