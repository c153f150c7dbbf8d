package extproc

import (
	"context"
	"io"
	"strings"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/stateful-route/stateful-route/insight"
	"github.com/stateful-route/stateful-route/policy"
)

func TestRequestIsOneTrace(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	tracer, err := insight.NewTracer(context.Background(), insight.TracerOptions{Process: "extproc", Provider: provider})
	if err != nil {
		t.Fatal(err)
	}
	d := newDirectory(t, ServiceState{chat(), pods(2)})
	server, err := NewServer(ServerOptions{Directory: d, Table: newTable(t), Tracer: tracer})
	if err != nil {
		t.Fatal(err)
	}
	const trace = "0af7651916cd43dd8448eb211c80319c"
	ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs(
		policy.ServiceMetadata, "chat", "traceparent", "00-"+trace+"-b7ad6b7169203331-01"))
	stream := &scriptedStream{ctx: ctx, in: []*extprocv3.ProcessingRequest{{
		Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: httpHeaders("x-session-id", "secret-key")},
	}}}
	if err := server.Process(stream); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range spans.Ended() {
		names = append(names, s.Name())
		if got := s.SpanContext().TraceID().String(); got != trace {
			t.Errorf("span %s is in trace %s", s.Name(), got)
		}
		for _, a := range s.Attributes() {
			if strings.Contains(a.Value.String(), "secret-key") {
				t.Errorf("span %s shows the key in %s", s.Name(), a.Key)
			}
		}
	}
	if got := strings.Join(names, " "); got != "cache.get loadbalancer.select cache.set request" {
		t.Errorf("spans %s", got)
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
