package extproc

import (
	"testing"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	statefulroute "github.com/stateful-route/stateful-route"
)

func endable(s *statefulroute.Service) {
	s.Session.End = []statefulroute.SessionEnd{{Method: "DELETE"}, {Method: "POST", Path: "/end$"}}
}

// send is request with its own method and path.
func (p *processor) send(pairs ...string) (*callout, *extprocv3.ProcessingResponse) {
	p.t.Helper()
	c := p.open("chat")
	return c, c.exchange(requestMessage(pairs...))
}

// A session is over when its client says so and its pod agrees.
func TestARequestEndsItsSession(t *testing.T) {
	for name, c := range map[string]struct {
		request []string
		status  string
		ended   bool
	}{
		"method":               {[]string{":method", "DELETE", ":path", "/mcp"}, "204", true},
		"method and path":      {[]string{":method", "POST", ":path", "/rooms/end?why=done"}, "200", true},
		"another method":       {[]string{":method", "GET", ":path", "/rooms/end"}, "200", false},
		"another path":         {[]string{":method", "POST", ":path", "/rooms?then=/end"}, "200", false},
		"the pod has none":     {[]string{":method", "DELETE", ":path", "/mcp"}, "404", false},
		"the pod does not end": {[]string{":method", "DELETE", ":path", "/mcp"}, "405", false},
		"the pod fails":        {[]string{":method", "DELETE", ":path", "/mcp"}, "500", false},
		"sent elsewhere":       {[]string{":method", "DELETE", ":path", "/mcp"}, "303", false},
	} {
		t.Run(name, func(t *testing.T) {
			p := startProcessor(t, stateOf(chat(endable), pods(3)))
			first, r := p.request("x-session-id", "s")
			owner := destination(t, r)
			first.response(owner, ":status", "200")
			first.finish()
			last, r := p.send(append([]string{"x-session-id", "s"}, c.request...)...)
			if destination(t, r) != owner {
				t.Fatalf("sent to %s, the session is on %s", destination(t, r), owner)
			}
			last.response(owner, ":status", c.status)
			last.finish()
			if n := p.table.Stats().Size; n != map[bool]int{true: 0, false: 1}[c.ended] {
				t.Errorf("%d bindings are left", n)
			}
			var counted int64
			for _, l := range p.directory.service("chat").balancer.Loads() {
				counted += l.Sessions
			}
			if counted != int64(p.table.Stats().Size) {
				t.Errorf("the balancer believes in %d sessions of %d", counted, p.table.Stats().Size)
			}
			p.noneInUse()
		})
	}
}

// Whoever names an ended session again begins a new one; what is still open of it, an
// event stream, brings nothing back.
func TestAnEndedSessionIsClaimedAnew(t *testing.T) {
	p := startProcessor(t, stateOf(chat(endable), pods(2)))
	events, r := p.request("x-session-id", "s")
	owner := destination(t, r)
	events.response(owner, ":status", "200")
	last, _ := p.send("x-session-id", "s", ":method", "DELETE")
	last.response(owner, ":status", "200")
	last.finish()
	events.finish()
	if n := p.table.Stats().Size; n != 0 {
		t.Fatalf("%d bindings are left", n)
	}
	_, r = p.request("x-session-id", "s")
	if next := destination(t, r); next == owner {
		t.Errorf("round robin sent a new session to %s again", next)
	}
}

// A session that was moved while its last request was open is on another pod, which knows
// nothing of its end.
func TestAMovedSessionDoesNotEnd(t *testing.T) {
	p := startProcessor(t, stateOf(chat(endable), pods(2)))
	p.table.Move("chat", "s", "chat-0", time.Now())
	last, _ := p.send("x-session-id", "s", ":method", "DELETE")
	p.table.Move("chat", "s", "chat-1", time.Now())
	last.response("127.0.0.1:9100", ":status", "200")
	last.finish()
	if b, ok := p.table.Peek("chat", "s", time.Now()); !ok || b.Pod != "chat-1" {
		t.Errorf("bound to %q", b.Pod)
	}
}

// Nor does one that was moved there and back: the pod has said that its former binding is over.
func TestASessionThatCameBackDoesNotEnd(t *testing.T) {
	p := startProcessor(t, stateOf(chat(endable), pods(2)))
	p.table.Move("chat", "s", "chat-0", time.Now())
	last, _ := p.send("x-session-id", "s", ":method", "DELETE")
	p.table.Move("chat", "s", "chat-1", time.Now())
	p.table.Move("chat", "s", "chat-0", time.Now())
	last.response("127.0.0.1:9100", ":status", "200")
	last.finish()
	if b, ok := p.table.Peek("chat", "s", time.Now()); !ok || b.Pod != "chat-0" {
		t.Errorf("bound to %q", b.Pod)
	}
}

// A request without a session is given one and ends none, whatever it asks for.
func TestARequestThatIsGivenASessionEndsNone(t *testing.T) {
	p := startProcessor(t, stateOf(chat(issuing, endable), pods(2)))
	last, r := p.send(":method", "DELETE")
	last.response(destination(t, r), ":status", "200")
	last.finish()
	if n := p.table.Stats().Size; n != 1 {
		t.Errorf("%d bindings, want the new one", n)
	}
}

// The response to a request that ends its session is asked for, also when none of its
// pod's is looked at otherwise.
func TestAnEndAsksForItsResponse(t *testing.T) {
	d := newDirectory(t, stateOf(chat(endable), pods(1)))
	server, err := NewServer(ServerOptions{Directory: d, Table: newMemory(t)})
	if err != nil {
		t.Fatal(err)
	}
	asked := func(method string) bool {
		x := &exchange{server: server, service: d.service("chat"), began: t0}
		x.begin(t.Context(), raw("x-session-id", "s", ":method", method, ":path", "/"))
		return x.asked
	}
	for range 50 { // the samples of this moment
		asked("GET")
	}
	if asked("GET") || !asked("DELETE") {
		t.Error("want the response of the end alone")
	}
}
