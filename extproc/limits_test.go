package extproc

import (
	"net"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/grpclimit"
	"github.com/stateful-route/stateful-route/internal/rawgrpc"
	"github.com/stateful-route/stateful-route/wire"
)

const process = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"

// guarded is a Server behind its bounds.
type guarded struct {
	*grpclimit.Guard
	t       *testing.T
	address string
	conn    *grpc.ClientConn // an Envoy's
}

func startGuarded(t *testing.T, l ClientLimits, change ...func(*statefulroute.Service)) *guarded {
	t.Helper()
	guard, err := NewGuard(l, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := newDirectory(t, wire.ServiceState{Service: chat(change...), Pods: pods(2)})
	server, err := NewServer(ServerOptions{Directory: d, Table: newMemory(t)})
	if err != nil {
		t.Fatal(err)
	}
	g := NewGRPCServer(server, guard.ServerOptions()...)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(guard.Listener(listener)) }()
	t.Cleanup(func() {
		conn.Close()
		g.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &guarded{guard, t, listener.Addr().String(), conn}
}

// asks sends a request's headers and returns how the callout went.
func (g *guarded) asks(pairs ...string) error {
	g.t.Helper()
	ctx := metadata.AppendToOutgoingContext(g.t.Context(), wire.ServiceMetadata, "chat")
	stream, err := extprocv3.NewExternalProcessorClient(g.conn).Process(ctx)
	if err != nil {
		return err
	}
	_ = stream.Send(requestHeaders(pairs...)) // Recv has the reason
	if _, err := stream.Recv(); err != nil {
		return err
	}
	return stream.CloseSend()
}

func requestHeaders(pairs ...string) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{
		RequestHeaders: &extprocv3.HttpHeaders{Headers: &corev3.HeaderMap{Headers: envoyHeaders(pairs...)}},
	}}
}

// An Envoy without requests pings, too, and is not cut for it.
func TestEnvoyMayPingOften(t *testing.T) {
	c := rawgrpc.Dial(t, "tcp", startGuarded(t, ClientLimits{}).address)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := range 20 {
		if !c.Ping() {
			t.Fatalf("the connection was ended after %d pings", n)
		}
		<-tick.C
	}
}

// refusedBy is the counter of a limit.
func (g *guarded) refusedBy(limit string) int {
	g.t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(g.Guard)
	families, err := registry.Gather()
	if err != nil {
		g.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if len(m.GetLabel()) == 1 && m.GetLabel()[0].GetValue() == limit {
				return int(m.GetCounter().GetValue())
			}
		}
	}
	return 0
}

// hold opens so many streams and leaves them in flight, answered.
func (g *guarded) hold(conns, each int, pairs ...string) []*rawgrpc.Conn {
	g.t.Helper()
	var all []*rawgrpc.Conn
	for range conns {
		c := rawgrpc.Dial(g.t, "tcp", g.address)
		for range each {
			c.Send(c.Open(process, wire.ServiceMetadata, "chat"), requestHeaders(pairs...))
		}
		all = append(all, c)
	}
	rawgrpc.Eventually(g.t, "they are answered", func() bool {
		n := 0
		for _, c := range all {
			n += c.Messages() + c.Ended()
		}
		return n >= conns*each
	})
	return all
}

// As long as a header as Envoy lets pass is none too long; one of megabytes is.
func TestMessagesAreBounded(t *testing.T) {
	g := startGuarded(t, ClientLimits{})
	if err := g.asks(":method", "GET", "x-session-id", "s", "cookie", strings.Repeat("x", 96<<10)); err != nil {
		t.Errorf("headers of 96 KiB: %v", err)
	}
	err := g.asks(":method", "GET", "x-session-id", "s", "cookie", strings.Repeat("x", 4<<20-1000))
	if status.Code(err) != codes.ResourceExhausted || g.refusedBy("message_size") != 1 {
		t.Errorf("headers of 4 MiB: %v, counted %d", err, g.refusedBy("message_size"))
	}
	if err := g.asks(":method", "GET", "x-session-id", "s"); err != nil {
		t.Errorf("the connection is of no use any more: %v", err)
	}
}

// One client holds all the streams it can get. An Envoy that was there, and one
// that comes, go on.
func TestHeldStreamsLeaveTheOthersTheirs(t *testing.T) {
	g := startGuarded(t, ClientLimits{Connections: 5, Streams: 50}) // 5 for each connection, 25 for all
	if err := g.asks(":method", "GET", "x-session-id", "s"); err != nil {
		t.Fatal(err)
	}
	rawgrpc.Eventually(t, "it is over", func() bool { return g.Streams() == 0 })
	greedy := g.hold(1, 80, ":method", "GET", "x-session-id", "s")[0]
	rawgrpc.Eventually(t, "the rest is refused", func() bool { return greedy.Status(codes.ResourceExhausted) == 50 })
	if g.Streams() != 30 || g.refusedBy("streams") != 50 {
		t.Errorf("%d streams are open, %d refused", g.Streams(), g.refusedBy("streams"))
	}
	for range 20 {
		if err := g.asks(":method", "GET", "x-session-id", "s"); err != nil {
			t.Fatalf("an Envoy that was there is refused: %v", err)
		}
	}
	if late := g.hold(1, 5, ":method", "GET", "x-session-id", "t")[0]; late.Ended() > 0 {
		t.Error("an Envoy that comes is refused its part")
	}
}

// What is kept of a request in flight is small, however long its headers are.
func TestHeldStreamsCostLittle(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's memory is not the server's")
	}
	cookies := func(s *statefulroute.Service) {
		s.Session.Key = append(s.Session.Key, from(statefulroute.FromCookie, "sid"))
	}
	long := "a=" + strings.Repeat("x", 50<<10) + "; sid=0123456789abcdef0123456789abcdef; b=1"
	for _, c := range []struct {
		name   string
		change []func(*statefulroute.Service)
		pairs  []string
	}{
		{"bound", nil, []string{":method", "GET", "x-session-id", "s"}},
		{"bound, by a long cookie", []func(*statefulroute.Service){cookies}, []string{":method", "GET", "cookie", long}},
		{"learning", []func(*statefulroute.Service){cookies, learning}, []string{":method", "GET", "cookie", long}},
		{"unbound", nil, []string{":method", "GET", "cookie", long}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := startGuarded(t, ClientLimits{}, c.change...)
			const conns, each = 10, 60
			before := rawgrpc.Memory()
			g.hold(conns, each, c.pairs...)
			cost := rawgrpc.Memory() - before
			t.Logf("%s, with 1/%d of a connection", rawgrpc.Each(cost, conns*each), each)
			if cost > 20_000*conns*each {
				t.Error("more than 20 KB")
			}
		})
	}
}
