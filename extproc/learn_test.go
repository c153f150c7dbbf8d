package extproc

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/sessionkey"
	"github.com/stateful-route/stateful-route/wire"
)

func TestLearnedSessionBelongsToThePodThatMadeIt(t *testing.T) {
	for name, h := range map[string][2]string{
		"header": {"mcp-session-id", "id-1"},
		"cookie": {"set-cookie", "JSESSIONID=id-1; Path=/; HttpOnly"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startProcessor(t, stateOf(chat(learning), pods(3)))
			c, r := p.request()
			if destination(t, r) != "" || !asksForResponse(r) {
				t.Fatalf("want an unbound request whose response is looked at, got %v", r)
			}
			c.response("127.0.0.1:9102", ":status", "200", h[0], h[1])
			c.finish()
			_, r = p.request("cookie", "JSESSIONID=id-1")
			if got := destination(t, r); got != "127.0.0.1:9102" {
				t.Errorf("the session goes to %s, want the pod that made it", got)
			}
		})
	}
}

// learned has the processor asked as Envoy's module asks about a response.
func (p *processor) learned(request []string, upstream string, response ...string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), wire.ServiceMetadata, "chat", wire.LearnMetadata, "1"), 20*time.Second)
	defer cancel()
	stream, err := p.client.Process(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	c := &callout{t: p.t, stream: stream, cancel: cancel}
	if err := stream.Send(requestMessage(request...)); err != nil {
		p.t.Fatal(err)
	}
	c.response(upstream, response...)
	c.finish()
}

// What Envoy's module held is bound when it is answered, and its request is not counted: the
// module has done that.
func TestLearnedOfARequestThatTheModuleAnsweredFor(t *testing.T) {
	p := startProcessor(t, stateOf(chat(learning), pods(3)))
	p.table.Move("chat", "mine", "chat-2", time.Now())
	p.directory.CountSessions(p.table, p.table)
	p.learned([]string{"x-session-id", "mine"}, "127.0.0.1:9102", ":status", "200", "mcp-session-id", "id-1", "set-cookie", "JSESSIONID=mine")
	if b, _ := p.table.Peek("chat", "id-1", time.Now()); b.Pod != "chat-2" {
		t.Errorf("bound to %q, want chat-2", b.Pod)
	}
	if n := p.table.Stats().Size; n != 2 {
		t.Errorf("%d bindings, want 2", n)
	}
	if n := metric(t, p.directory, `stateful_route_requests_total{method="GET",pod="chat-2",service="chat",status="200"}`); n != 0 {
		t.Errorf("%v requests counted", n)
	}
	if l := p.directory.service("chat").balancer.Loads()["chat-2"]; l.Sessions != 2 || l.InFlight != 0 {
		t.Errorf("the balancer believes in %+v", l)
	}
}

// The creator of an id that is bound elsewhere gets the session, and whoever
// wonders why can see it.
func TestLearnedSessionReplacesAnEarlierBinding(t *testing.T) {
	p := startProcessor(t, stateOf(chat(learning), pods(3)))
	p.table.Move("chat", "id-1", "chat-0", time.Now())
	p.directory.CountSessions(p.table, p.table)
	c, _ := p.request()
	c.response("127.0.0.1:9102", ":status", "200", "mcp-session-id", "id-1")
	c.finish()
	if b, _ := p.table.Peek("chat", "id-1", time.Now()); b.Pod != "chat-2" || b.PreviousPod != "chat-0" {
		t.Errorf("bound to %s after %s, want chat-2 after chat-0", b.Pod, b.PreviousPod)
	}
	if n := metric(t, p.directory, `stateful_route_sessions_rebound_total{reason="learned",service="chat"}`); n != 1 {
		t.Errorf("%v moves counted, want 1", n)
	}
	for pod, l := range p.directory.service("chat").balancer.Loads() {
		if want := map[string]int64{"chat-2": 1}[pod]; l.Sessions != want {
			t.Errorf("the balancer believes in %d sessions on %s, want %d", l.Sessions, pod, want)
		}
	}
	moved := p.logs.FilterMessage("session moved to the pod that says it created it").All()
	if len(moved) != 1 {
		t.Fatalf("%d moves logged, want 1: %v", len(moved), p.logs.All())
	}
	if f := moved[0].ContextMap(); f["from"] != "chat-0" || f["to"] != "chat-2" || f["session"] != p.directory.hasher.hash("chat", "id-1") {
		t.Errorf("logged as %v", f)
	}
}

// A client that has a session of its own names another one's as well, in every
// way it can think of, and its pod repeats what it was told.
func TestClientCannotMoveAnothersSession(t *testing.T) {
	const victim = "3f9a0c6e-77d1-4b0e-9d7e-2b1f5a6c8d90"
	anywhere := func(s *statefulroute.Service) {
		s.Session.Key = append(s.Session.Key, from(statefulroute.FromQuery, "session"), from(statefulroute.FromPath, "^/rooms/([^/]+)"))
	}
	for name, request := range map[string][]string{
		"learn header":        {"mcp-session-id", victim},
		"its second line":     {"mcp-session-id", "other", "mcp-session-id", victim},
		"a list":              {"mcp-session-id", "other, " + victim},
		"upper case":          {"mcp-session-id", strings.ToUpper(victim)},
		"without dashes":      {"mcp-session-id", strings.ReplaceAll(victim, "-", "")},
		"in braces":           {"mcp-session-id", "{" + victim + "}"},
		"learn cookie":        {"cookie", "a=b; JSESSIONID=" + victim},
		"its second value":    {"cookie", "JSESSIONID=other; JSESSIONID=" + victim},
		"a second header":     {"cookie", "JSESSIONID=other", "cookie", "JSESSIONID=" + victim},
		"escaped":             {"cookie", "JSESSIONID=%33" + victim[1:]},
		"quoted":              {"cookie", `JSESSIONID="` + victim + `"`},
		"quoted with escapes": {"cookie", `JSESSIONID="\3` + victim[1:] + `"`},
		"key query":           {":path", "/?session=other&session=" + victim},
		"key path":            {":path", "/rooms/" + victim + "/x"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startProcessor(t, stateOf(chat(learning, anywhere), pods(3)))
			p.table.Move("chat", victim, "chat-0", time.Now())
			p.table.Move("chat", "attacker", "chat-1", time.Now())
			c := p.open("chat")
			r := c.exchange(requestMessage(append([]string{"x-session-id", "attacker"}, request...)...))
			if got := destination(t, r); got != "127.0.0.1:9101" {
				t.Fatalf("the attacker goes to %s", got)
			}
			c.response("127.0.0.1:9101", ":status", "200", "mcp-session-id", victim, "set-cookie", "JSESSIONID="+victim)
			c.finish()
			p.learned(append([]string{"x-session-id", "attacker"}, request...), "127.0.0.1:9101", "mcp-session-id", victim, "set-cookie", "JSESSIONID="+victim)
			if b, _ := p.table.Peek("chat", victim, time.Now()); b.Pod != "chat-0" {
				t.Errorf("the victim's session moved to %s", b.Pod)
			}
		})
	}
}

// A pod that takes up the id a client came with: the id was the request's key,
// so it is where the request went.
func TestSessionCreatedUnderTheRequestsOwnID(t *testing.T) {
	p := startProcessor(t, stateOf(chat(learning), pods(3)))
	c, r := p.request("mcp-session-id", "id-1")
	owner := destination(t, r)
	c.response(owner, ":status", "200", "mcp-session-id", "id-1")
	c.finish()
	if _, r = p.request("mcp-session-id", "id-1"); destination(t, r) != owner {
		t.Errorf("the session went to %s, then to %s", owner, destination(t, r))
	}
	if n := p.table.Stats().Size; n != 1 {
		t.Errorf("%d bindings, want 1", n)
	}
}

// A pod that merely repeats the id of the request has not made it, least of all
// when the request should have gone elsewhere.
func TestEchoedSessionStaysWhereItIs(t *testing.T) {
	p := startProcessor(t, stateOf(chat(learning), pods(3)))
	p.table.Move("chat", "id-1", "chat-0", time.Now())
	c, _ := p.request("mcp-session-id", "id-1")
	c.response("127.0.0.1:9102", ":status", "200", "mcp-session-id", "id-1")
	c.finish()
	if b, _ := p.table.Peek("chat", "id-1", time.Now()); b.Pod != "chat-0" {
		t.Errorf("bound to %s, want chat-0", b.Pod)
	}
}

func TestNothingIsLearnedFromUnknownPodsOrLongIDs(t *testing.T) {
	p := startProcessor(t, stateOf(chat(learning), pods(3)))
	c, _ := p.request()
	c.response("10.9.9.9:1", ":status", "200", "mcp-session-id", "id-1")
	c.finish()
	c, _ = p.request()
	c.response("127.0.0.1:9100", ":status", "200", "mcp-session-id", strings.Repeat("x", sessionkey.MaxKey+1))
	c.finish()
	if n := p.table.Stats().Size; n != 0 {
		t.Errorf("%d bindings, want none", n)
	}
}

func TestIssuedCookie(t *testing.T) {
	p := startProcessor(t, stateOf(chat(issuing), pods(3)))
	seen := map[string]bool{}
	for _, secure := range []bool{false, true} {
		proto := map[bool]string{false: "http", true: "https"}[secure]
		c, r := p.request("x-forwarded-proto", proto)
		owner := destination(t, r)
		if owner == "" || !asksForResponse(r) {
			t.Fatalf("a client without a session goes to %q", owner)
		}
		if p.table.Stats().Size != len(seen)+1 {
			t.Error("the binding is not claimed before the request leaves")
		}
		k := setCookieOf(t, c.response(owner, ":status", "200"))
		c.finish()
		if k.Name != "stateful-route" || len(k.Value) < 22 || !k.HttpOnly || k.SameSite != http.SameSiteLaxMode ||
			k.Path != "/" || k.MaxAge != 86400 || k.Secure != secure {
			t.Errorf("over %s: %v", proto, k)
		}
		if seen[k.Value] {
			t.Error("two clients got one id")
		}
		seen[k.Value] = true
		c, r = p.request("cookie", "stateful-route="+k.Value)
		if got := destination(t, r); got != owner {
			t.Errorf("the cookie leads to %s, want %s", got, owner)
		}
		c.finish()
	}
}

func TestNoCookieForAClientWithASession(t *testing.T) {
	p := startProcessor(t, stateOf(chat(issuing), pods(3)))
	c, r := p.request("x-session-id", "a")
	if r := c.response(destination(t, r), ":status", "200"); r.GetResponseHeaders().GetResponse() != nil {
		t.Errorf("the answer changes the response: %v", r)
	}
	c.finish()
}

// A browser cannot drop our HttpOnly cookie by itself: where its session is
// over for good, we take it back.
func TestRejectedCookieIsTakenBack(t *testing.T) {
	p := startProcessor(t, stateOf(chat(issuing, rejecting), pods(2)))
	p.table.Move("chat", "id-1", "gone", time.Now())
	_, r := p.request("cookie", "stateful-route=id-1")
	checkRefusal(t, r, wire.ReasonPodLost)
	taken := ""
	for _, h := range r.GetImmediateResponse().GetHeaders().GetSetHeaders() {
		if h.GetHeader().GetKey() == "set-cookie" {
			taken = string(h.GetHeader().GetRawValue())
		}
	}
	if k, err := http.ParseSetCookie(taken); err != nil || k.MaxAge >= 0 || k.Name != "stateful-route" || k.Path != "/" {
		t.Errorf("Set-Cookie %q does not take the cookie back", taken)
	}
}
