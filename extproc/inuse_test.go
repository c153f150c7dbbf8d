package extproc

import (
	"context"
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/metadata"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

// inUse is the number of the sessions' requests in flight, as an operator sees it, by key.
func (p *processor) inUse() map[string]int {
	out := map[string]int{}
	for b := range p.table.All() {
		if b.InFlight > 0 {
			out[b.Key] = b.InFlight
		}
	}
	return out
}

// noneInUse checks that nothing is left of requests that have ended.
func (p *processor) noneInUse() {
	p.t.Helper()
	if n := p.table.Stats().InUse; n != 0 {
		p.t.Errorf("%d sessions in use", n)
	}
}

// A session is in use from its request's beginning to the end of the exchange, which is
// hours away for a WebSocket and an event stream, and does not expire meanwhile.
func TestASessionIsInUseWhileItsRequestsAreOpen(t *testing.T) {
	p := startProcessor(t, stateOf(chat(), pods(1)))
	socket, _ := p.request("x-session-id", "s")
	socket.response("127.0.0.1:9100", ":status", "101")
	events, _ := p.request("x-session-id", "s")
	once, _ := p.request("x-session-id", "idle")
	once.finish()

	if got := p.inUse(); len(got) != 1 || got["s"] != 2 {
		t.Errorf("in use: %v", got)
	}
	if n := p.table.Expire(time.Now().Add(3 * time.Hour)); n != 1 || p.table.PodSessions("chat", "chat-0") != 1 {
		t.Errorf("%d expired, %d sessions on the pod: want the idle one gone and the other there", n, p.table.PodSessions("chat", "chat-0"))
	}
	events.finish()
	if got := p.inUse(); got["s"] != 1 {
		t.Errorf("in use after the event stream: %v", got)
	}
	socket.cancel()
	eventually(t, "the socket's end", func() bool { return p.table.Stats().InUse == 0 })
	if n := p.table.Expire(time.Now()); n != 0 {
		t.Error("the idle time did not begin when the socket closed")
	}
	if n := p.table.Expire(time.Now().Add(3 * time.Hour)); n != 1 {
		t.Error("it does not expire any more")
	}
}

// A session that a pod created, or that was issued, is in use by the response that gives
// it to the client: an event stream that begins a session may be all there is of it.
func TestANewSessionIsInUseByItsFirstResponse(t *testing.T) {
	for name, svc := range map[string]statefulroute.Service{"learned": chat(learning), "issued": chat(issuing)} {
		t.Run(name, func(t *testing.T) {
			p := startProcessor(t, stateOf(svc, pods(1)))
			c, _ := p.request()
			c.response("127.0.0.1:9100", ":status", "200", "mcp-session-id", "id-1")
			if got := p.inUse(); len(got) != 1 {
				t.Errorf("in use: %v", got)
			}
			if n := p.table.Expire(time.Now().Add(3 * time.Hour)); n != 0 {
				t.Errorf("%d expired", n)
			}
			c.finish()
			p.noneInUse()
			if n := p.table.Expire(time.Now()); n != 0 {
				t.Errorf("%d expired at once", n)
			}
		})
	}
}

// However an exchange ends, its session is in use no more.
func TestNothingIsLeftInUse(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		p := startProcessor(t, stateOf(chat(rejecting), pods(1)))
		if _, _, err := p.table.Claim("chat", "s", "gone", time.Now()); err != nil {
			t.Fatal(err)
		}
		c, answer := p.request("x-session-id", "s")
		if answer.GetImmediateResponse() == nil {
			t.Fatalf("not refused: %v", answer)
		}
		c.finish()
		p.noneInUse()
	})
	t.Run("without a binding", func(t *testing.T) {
		p := startProcessor(t, stateOf(chat(), pods(1)))
		p.server.table = &answeringTable{Table: p.server.table, claim: answers("", statefulroute.ErrFull)}
		c, _ := p.request("x-session-id", "s")
		if n := p.table.Stats().InUse; n != 1 {
			t.Errorf("%d sessions in use", n)
		}
		c.finish()
		p.noneInUse()
	})
	t.Run("cut off", func(t *testing.T) {
		p := startProcessor(t, stateOf(chat(), pods(1)))
		c, _ := p.request("x-session-id", "s")
		c.cancel()
		eventually(t, "its end", func() bool { return p.table.Stats().InUse == 0 })
	})
	t.Run("let go of", func(t *testing.T) {
		p := startProcessor(t, stateOf(chat(), pods(1)))
		c, _ := p.request("x-session-id", "s")
		p.server.Drain(t.Context())
		c.ends() // by its drain, before its handler has returned
		eventually(t, "its end", func() bool { return p.table.Stats().InUse == 0 })
	})
	t.Run("panic", func(t *testing.T) {
		p := startProcessor(t, stateOf(chat(), pods(1)))
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(wire.ServiceMetadata, "chat"))
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			_ = p.server.Process(played(&oneRequest{cancelledStream{ctx: ctx}})) // does not return
		}()
		p.noneInUse()
	})
}

// oneRequest is a stream that says who its session is, and does not bear the answer.
type oneRequest struct{ cancelledStream }

func (s *oneRequest) Send(*extprocv3.ProcessingResponse) error { panic("a stream's own") }

func (s *oneRequest) Context() context.Context { return s.ctx }

func (s *oneRequest) Recv() (*extprocv3.ProcessingRequest, error) {
	return requestMessage(":method", "GET", "x-session-id", "s"), nil
}

// Whatever a client holds open for ten minutes, with an idle timeout of 30 s and its pod
// being drained: its session stays, the pod is not empty before, and is soon after.
func TestHeldForTenMinutesAndDrainedAround(t *testing.T) {
	table := newTable(t)
	c := newClients(t, table, stateOf(chat(), pods(4)))
	table.SetIdleTimeout("chat", 30*time.Second)
	ctx := context.Background()
	held := map[string]*exchange{}
	for key, response := range map[string][]string{
		"websocket":    {":status", "101", "upgrade", "websocket"},
		"event stream": {":status", "200", "content-type", "text/event-stream"},
		"grpc, bidi":   {":status", "200", "content-type", "application/grpc"},
		"upload":       nil, // of which no answer is seen before its end
	} {
		x := &exchange{server: c.server, service: c.server.directory.service("chat"), began: c.now}
		x.begin(ctx, raw(":method", "GET", "x-session-id", key))
		if response != nil {
			x.response(ctx, raw(response...), x.decision.pod.Address.String())
		}
		held[key], c.pods[key] = x, x.decision.pod.Name
	}
	sweep := func(until time.Duration) {
		for end := c.now.Add(until); c.now.Before(end); c.now = c.now.Add(time.Second) {
			table.Renew(c.now)
			table.Expire(c.now)
			c.server.directory.CountSessions(table, table)
		}
	}
	sweep(time.Minute)
	draining := pods(4)
	for i := range draining[:3] {
		draining[i].State = statefulroute.Draining
	}
	c.server.directory.Set([]wire.ServiceState{stateOf(chat(), draining)}, true)
	sweep(9 * time.Minute)
	left := func(n int) (sessions int) {
		for i := range n {
			sessions += table.PodSessions("chat", pods(n)[i].Name)
		}
		return sessions
	}
	if n := left(4); n != len(held) {
		t.Errorf("%d of %d sessions are on the pods", n, len(held))
	}
	for key := range held {
		c.comeBack(key)
	}
	for _, x := range held {
		x.end()
	}
	if sweep(29 * time.Second); left(4) != len(held) {
		t.Errorf("%d of %d sessions are left before their idle timeout", left(4), len(held))
	}
	if sweep(3 * time.Second); left(4) != 0 || table.Stats().InUse != 0 {
		t.Errorf("%d sessions are left after it, %d in use", left(4), table.Stats().InUse)
	}
}
