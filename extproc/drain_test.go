package extproc

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ends waits for the stream to end well without Envoy having said anything.
func (c *callout) ends() {
	c.t.Helper()
	if _, err := c.stream.Recv(); !errors.Is(err, io.EOF) {
		c.t.Errorf("the stream ended with %v, want success", err)
	}
}

func TestDrainLetsGoOfWhatIsDecided(t *testing.T) {
	p := startProcessor(t, stateOf(chat(), pods(2)))
	undecided := p.open("chat") // its request is still on the way
	fresh, answer := p.request("x-session-id", "a")
	if !asksForResponse(answer) {
		t.Fatal("the response of a new session is not asked for")
	}
	streaming, _ := p.request("x-session-id", "b")
	streaming.response("127.0.0.1:9100", ":status", "200", "content-type", "text/event-stream")

	p.server.Drain(t.Context())
	fresh.ends()
	streaming.ends()
	if answer := undecided.exchange(requestMessage("x-session-id", "a")); destination(t, answer) == "" {
		t.Error("a callout under way is not decided")
	}
	undecided.ends()
	late, answer := p.request("x-session-id", "c")
	if destination(t, answer) == "" {
		t.Error("a callout that came after the drain had begun is not decided")
	}
	late.ends()
	// The drain ends a stream before its handler has returned.
	eventually(t, "no request in flight for the balancer", func() bool { return p.inFlight() == 0 })
	if n := metric(t, p.directory, `stateful_route_request_errors_total{kind="aborted",pod="chat-0",service="chat"}`) +
		metric(t, p.directory, `stateful_route_request_errors_total{kind="aborted",pod="chat-1",service="chat"}`); n != 0 {
		t.Errorf("%v requests that were let go of count as aborted", n)
	}
}

// A cookie that was issued, or a session that is to be learned, is lost with the
// response phase.
func TestDrainWaitsForResponsesThatGiveTheClientSomething(t *testing.T) {
	p := startProcessor(t, stateOf(chat(issuing), pods(1)))
	c, _ := p.request()
	known, _ := p.request("x-session-id", "a")
	drained := make(chan struct{})
	go func() { p.server.Drain(context.Background()); close(drained) }()
	known.ends()
	select {
	case <-drained:
		t.Fatal("not waited for")
	case <-time.After(20 * time.Millisecond):
	}
	if cookie := setCookieOf(t, c.response("127.0.0.1:9100", ":status", "200")); cookie.Name != "stateful-route" {
		t.Errorf("issued %v", cookie)
	}
	c.ends()
	<-drained
}

func TestDrainDoesNotWaitForEver(t *testing.T) {
	p := startProcessor(t, stateOf(chat(issuing), pods(1)))
	c, _ := p.request()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p.server.Drain(ctx)
	c.ends()
}

// Nobody knows the services yet, and this process will not learn of them.
func TestDrainEndsTheWaitForServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := startEarly(t)
		defer e.cancel()
		e.waits(t)
		e.server.Drain(t.Context())
		if err := <-e.ended; status.Code(err) != codes.Unavailable {
			t.Errorf("the stream ended with %v", err)
		}
		if n := metric(t, e.directory, `stateful_route_undecided_callouts_total{reason="stopping"}`); n != 1 {
			t.Errorf("%v callouts counted, want 1", n)
		}
	})
}

func TestUndecidedCalloutsAreCounted(t *testing.T) {
	p := startProcessor(t, stateOf(chat(), pods(1)))
	for reason, code := range map[string]codes.Code{
		undecidedNoService: codes.InvalidArgument, undecidedUnknown: codes.Unavailable, undecidedNoHeaders: codes.FailedPrecondition,
	} {
		c := p.open(map[string]string{undecidedUnknown: "mail", undecidedNoHeaders: "chat"}[reason])
		if err := c.stream.Send(responseMessage("")); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if _, err := c.stream.Recv(); status.Code(err) != code {
			t.Errorf("%s: ended with %v, want %v", reason, err, code)
		}
		if n := metric(t, p.directory, `stateful_route_undecided_callouts_total{reason="`+reason+`"}`); n != 1 {
			t.Errorf("%s: %v callouts counted, want 1", reason, n)
		}
		if n := p.logs.FilterMessage("callout not decided").Len(); n == 0 {
			t.Errorf("%s: not logged", reason)
		}
	}
}
