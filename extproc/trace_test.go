package extproc

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	otelcodes "go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/extproc/extproctest"
	"github.com/stateful-route/stateful-route/insight/tracing"
	"github.com/stateful-route/stateful-route/wire"
)

// newTestTracer records every span that is made.
func newTestTracer(t *testing.T) (*tracing.Tracer, *tracetest.SpanRecorder) {
	t.Helper()
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	tracer, err := tracing.NewTracer(context.Background(), tracing.TracerOptions{Process: "extproc", Provider: provider})
	if err != nil {
		t.Fatal(err)
	}
	return tracer, spans
}

// traced is a server with a tracer, whose streams are played.
type traced struct {
	t      *testing.T
	server *Server
	table  *affinity.Table
	spans  *tracetest.SpanRecorder
}

func newTraced(t *testing.T, services ...wire.ServiceState) *traced {
	t.Helper()
	tracer, spans := newTestTracer(t)
	table := newTable(t)
	server, err := NewServer(ServerOptions{Directory: newDirectory(t, services...), Table: MemoryTable{Table: table}, Tracer: tracer})
	if err != nil {
		t.Fatal(err)
	}
	return &traced{t: t, server: server, table: table, spans: spans}
}

// play sends a request's headers and, unless it is nil, a response's, and
// returns the answers.
func (x *traced) play(request []string, upstream string, response []string) []*extprocv3.ProcessingResponse {
	x.t.Helper()
	stream := &scriptedStream{
		ctx: metadata.NewIncomingContext(context.Background(), metadata.Pairs(wire.ServiceMetadata, "chat", "traceparent", extproctest.Parent)),
		in:  []*extprocv3.ProcessingRequest{requestMessage(request...)},
	}
	if response != nil {
		stream.in = append(stream.in, responseMessage(upstream, response...))
	}
	if err := x.server.Process(played(stream)); err != nil {
		x.t.Fatal(err)
	}
	return stream.out
}

func TestRequestIsOneTrace(t *testing.T) {
	x := newTraced(t, stateOf(chat(), pods(2)))
	x.play([]string{"x-session-id", "secret-key"}, "", nil)
	checkSpans(t, x.spans, "cache.get loadbalancer.select cache.set request", "secret-key")
}

// Everything in a trace is by the clock that the server was given.
func TestSpansGoByTheServersClock(t *testing.T) {
	var now time.Time
	clock := func() time.Time { now = now.Add(time.Second); return now }
	spans := tracetest.NewSpanRecorder()
	tracer, err := tracing.NewTracer(context.Background(), tracing.TracerOptions{
		Process: "extproc", Now: clock, Provider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)),
	})
	if err != nil {
		t.Fatal(err)
	}
	now = t0
	d, table := newDirectory(t, stateOf(chat(), pods(2))), newTable(t)
	server, err := NewServer(ServerOptions{Directory: d, Table: MemoryTable{Table: table}, Tracer: tracer, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	x := &traced{t: t, server: server, table: table, spans: spans}
	x.play([]string{"x-session-id", "a"}, "127.0.0.1:9100", []string{":status", "503"})
	if n := len(spans.Ended()); n != 4 {
		t.Errorf("%d spans, want 4", n)
	}
	for _, s := range spans.Ended() {
		if s.StartTime().Before(t0) || s.EndTime().After(now) || !s.EndTime().After(s.StartTime()) {
			t.Errorf("%s is from %s to %s, by a clock from %s to %s", s.Name(), s.StartTime(), s.EndTime(), t0, now)
		}
	}
}

// The response of a request whose trace is kept is looked at however busy its
// pod is: a span without its status says nothing.
func TestRecordedSpanHasItsStatus(t *testing.T) {
	for name, key := range map[string][]string{"bound": {"x-session-id", "a"}, "unbound": nil} {
		t.Run(name, func(t *testing.T) {
			x := newTraced(t, stateOf(chat(), pods(1)))
			x.table.Move("chat", "a", "chat-0", time.Now())
			svc := x.server.directory.service("chat")
			for _, s := range []*sampler{svc.pods["chat-0"].sampler, svc.unbound} {
				exhaust(s)
			}
			out := x.play(key, "127.0.0.1:9100", []string{":status", "503"})
			if !asksForResponse(out[0]) {
				t.Error("the response is not asked for")
			}
			ended := x.spans.Ended()
			if s := ended[len(ended)-1]; s.Name() != "request" || s.Status().Code != otelcodes.Error {
				t.Errorf("span %s has status %v, want request with an error", s.Name(), s.Status())
			}
		})
	}
}

// exhaust makes a sampler refuse for the next hour.
func exhaust(s *sampler) { s.due.Store(time.Now().Add(time.Hour).UnixNano()) }

func TestUntracedResponsesAreNotLookedAt(t *testing.T) {
	p := startProcessor(t, stateOf(chat(), pods(1)))
	p.table.Move("chat", "a", "chat-0", time.Now())
	exhaust(p.directory.service("chat").pods["chat-0"].sampler)
	c, r := p.request("x-session-id", "a")
	if asksForResponse(r) {
		t.Error("the response of a request without a trace is looked at")
	}
	c.finish()
}

func TestLearnedMoveIsInTheTrace(t *testing.T) {
	x := newTraced(t, stateOf(chat(learning), pods(2)))
	x.table.Move("chat", "secret-key", "chat-0", time.Now())
	x.play(nil, "127.0.0.1:9101", []string{":status", "200", "mcp-session-id", "secret-key"})
	checkSpans(t, x.spans, strings.Repeat("cache.set ", 2)+"request", "secret-key") // the claim, the move
	ended := x.spans.Ended()
	request := ended[len(ended)-1]
	if len(request.Events()) != 1 || request.Events()[0].Name != "rebound" {
		t.Errorf("events %v, want rebound", request.Events())
	}
}

// scriptedStream plays messages to a handler and keeps its answers.
type scriptedStream struct {
	grpc.ServerStream
	ctx context.Context
	in  []*extprocv3.ProcessingRequest
	out []*extprocv3.ProcessingResponse
}

func (s *scriptedStream) Context() context.Context { return s.ctx }

func (s *scriptedStream) Send(r *extprocv3.ProcessingResponse) error {
	s.out = append(s.out, r)
	return nil
}

func (s *scriptedStream) Recv() (*extprocv3.ProcessingRequest, error) {
	if len(s.in) == 0 {
		return nil, io.EOF
	}
	m := s.in[0]
	s.in = s.in[1:]
	return m, nil
}
