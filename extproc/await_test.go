package extproc

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/stateful-route/stateful-route/extproc/extproctest"
	"github.com/stateful-route/stateful-route/wire"
)

// early is a stream that reached a process which has just started.
type early struct {
	directory *Directory
	server    *Server
	stream    *scriptedStream
	cancel    context.CancelFunc
	ended     chan error
}

func startEarly(t *testing.T) *early {
	m := extproctest.NewMonitor(t)
	d, err := NewDirectory(DirectoryOptions{Monitor: m})
	if err != nil {
		t.Fatal(err)
	}
	server, err := NewServer(ServerOptions{Directory: d, Table: newMemory(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(metadata.NewIncomingContext(t.Context(), metadata.Pairs(wire.ServiceMetadata, "chat")))
	e := &early{directory: d, server: server, cancel: cancel, ended: make(chan error, 1), stream: &scriptedStream{ctx: ctx, in: []*extprocv3.ProcessingRequest{
		requestMessage("x-session-id", "a"), responseMessage("127.0.0.1:9100", ":status", "200")}}}
	go func() { e.ended <- server.Process(played(e.stream)) }()
	synctest.Wait()
	return e
}

func (e *early) waits(t *testing.T) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-e.ended:
		t.Fatalf("the stream ended with %v before the services were known", err)
	default:
	}
}

func TestStreamWaitsForTheFirstServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := startEarly(t)
		defer e.cancel()
		e.waits(t)
		mail := chat()
		mail.Name = "mail"
		e.directory.Set([]wire.ServiceState{stateOf(mail, pods(1))}, false)
		e.waits(t)
		if e.directory.await(t.Context(), t.Context(), "mail") == nil {
			t.Error("a service that is known waits for the others")
		}
		time.Sleep(5 * time.Second) // the bubble's clock: what the stream waits
		e.directory.Set([]wire.ServiceState{stateOf(chat(), pods(1)), stateOf(mail, pods(1))}, true)
		if err := <-e.ended; err != nil {
			t.Fatal(err)
		}
		if got := destination(t, e.stream.out[0]); got != "127.0.0.1:9100" {
			t.Errorf("sent to %q", got)
		}
		// What it waited is the request's time, not the pod's.
		if s := metric(t, e.directory, `stateful_route_request_duration_seconds_sum{pod="chat-0",service="chat"}`); s < 5 {
			t.Errorf("the request took %v s, want at least 5", s)
		}
		if took := e.directory.service("chat").balancer.Stats().AverageResponseTime; took > time.Second {
			t.Errorf("the pod is said to have taken %v", took)
		}
	})
}

func TestCompleteDirectoryKeepsNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := startEarly(t)
		defer e.cancel()
		e.directory.Set(nil, true)
		if err := <-e.ended; status.Code(err) != codes.Unavailable {
			t.Errorf("the stream of a service that is not there ended with %v", err)
		}
		e.directory.Set([]wire.ServiceState{stateOf(chat(), pods(1))}, false)
		if e.directory.await(t.Context(), t.Context(), "chat") == nil || e.directory.await(t.Context(), t.Context(), "mail") != nil {
			t.Error("a complete directory does not say what it knows")
		}
	})
}

func TestStreamThatWaitsEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := startEarly(t)
		e.waits(t)
		e.cancel()
		if err := <-e.ended; status.Code(err) != codes.Unavailable {
			t.Errorf("got %v, want Unavailable", err)
		}
		if n := metric(t, e.directory, `stateful_route_undecided_callouts_total{reason="starting"}`); n != 1 {
			t.Errorf("%v callouts counted, want 1", n)
		}
	})
}
