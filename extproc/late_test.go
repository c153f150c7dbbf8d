package extproc

import (
	"context"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

// stallingTable is so slow that Envoy gives up meanwhile.
type stallingTable struct {
	Table
	giveUp func()
}

func (t *stallingTable) Lookup(ctx context.Context, service, key string, now time.Time) (statefulroute.Binding, error) {
	t.giveUp()
	return t.Table.Lookup(ctx, service, key, now)
}

// An answer that nobody waited for any more is counted as that, and not as a
// failure of the pod it named.
func TestLateAnswer(t *testing.T) {
	p := startProcessor(t, stateOf(chat(), pods(1)))
	envoy, cancel := context.WithCancel(metadata.AppendToOutgoingContext(t.Context(), wire.ServiceMetadata, "chat"))
	ended := make(chan context.Context, 1)
	p.server.table = &stallingTable{MemoryTable{Table: p.table}, func() {
		cancel()
		<-(<-ended).Done() // the server has been told
	}}
	p.onStream = func(ctx context.Context) { ended <- ctx }
	stream, err := p.client.Process(envoy)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(requestMessage(":method", "GET", "x-session-id", "a")); err != nil {
		t.Fatal(err)
	}
	counted := `stateful_route_request_errors_total{kind="late",pod="",service="chat"}`
	eventually(t, counted, func() bool { return metric(t, p.directory, counted) == 1 })
	for name, want := range map[string]float64{
		`stateful_route_request_errors_total{kind="aborted",pod="chat-0",service="chat"}`:     0,
		`stateful_route_requests_total{code="none",method="GET",pod="",service="chat"}`:       1,
		`stateful_route_requests_total{code="none",method="GET",pod="chat-0",service="chat"}`: 0,
	} {
		if n := metric(t, p.directory, name); n != want {
			t.Errorf("%s is %v, want %v", name, n, want)
		}
	}
	if p.inFlight() != 0 {
		t.Error("the request is still in flight")
	}
	p.noneInUse()
	if p.logs.FilterMessageSnippet("too late").Len() != 1 {
		t.Errorf("not logged: %v", p.logs.All())
	}
}

// The same where Envoy gave up before the request was read.
func TestLateBeforeTheRequestWasRead(t *testing.T) {
	p := startProcessor(t, stateOf(chat(), pods(1)))
	ctx, cancel := context.WithCancel(metadata.NewIncomingContext(t.Context(), metadata.Pairs(wire.ServiceMetadata, "chat")))
	cancel()
	if err := p.server.Process(played(&cancelledStream{ctx: ctx})); status.Code(err) != codes.Canceled {
		t.Errorf("got %v", err)
	}
	if n := metric(t, p.directory, `stateful_route_request_errors_total{kind="late",pod="",service="chat"}`); n != 1 {
		t.Errorf("%v counted, want 1", n)
	}
}

// cancelledStream is one that Envoy has reset.
type cancelledStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *cancelledStream) Context() context.Context { return s.ctx }

func (s *cancelledStream) Send(*extprocv3.ProcessingResponse) error { return s.ctx.Err() }

func (s *cancelledStream) Recv() (*extprocv3.ProcessingRequest, error) { return nil, s.ctx.Err() }
