package extproc

import (
	"net/http"
	"strings"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/policy"
)

func learning(s *statefulroute.Service) {
	s.Session.Learn = []statefulroute.SessionSource{
		from(statefulroute.FromHeader, "Mcp-Session-Id"), from(statefulroute.FromCookie, "JSESSIONID"),
	}
	s.Session.Key = append(s.Session.Key, s.Session.Learn...)
}

func issuing(s *statefulroute.Service) {
	s.Session.Issue = &statefulroute.IssuedCookie{Name: "stateful-route", TTL: 24 * time.Hour}
}

func TestLearnedSessionBelongsToThePodThatMadeIt(t *testing.T) {
	for name, h := range map[string][2]string{
		"header": {"mcp-session-id", "id-1"},
		"cookie": {"set-cookie", "JSESSIONID=id-1; Path=/; HttpOnly"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startProcessor(t, ServiceState{chat(learning), pods(3)})
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

func TestLearnedSessionReplacesAnEarlierBinding(t *testing.T) {
	p := startProcessor(t, ServiceState{chat(learning), pods(3)})
	p.table.Move("chat", "id-1", "chat-0", time.Now())
	c, _ := p.request()
	c.response("127.0.0.1:9102", ":status", "200", "mcp-session-id", "id-1")
	c.finish()
	if b, _ := p.table.Peek("chat", "id-1", time.Now()); b.Pod != "chat-2" {
		t.Errorf("bound to %s, want chat-2", b.Pod)
	}
}

// A pod that merely repeats the id of the request has not made it, least of all
// when the request should have gone elsewhere.
func TestEchoedSessionStaysWhereItIs(t *testing.T) {
	p := startProcessor(t, ServiceState{chat(learning), pods(3)})
	p.table.Move("chat", "id-1", "chat-0", time.Now())
	c, _ := p.request("mcp-session-id", "id-1")
	c.response("127.0.0.1:9102", ":status", "200", "mcp-session-id", "id-1")
	c.finish()
	if b, _ := p.table.Peek("chat", "id-1", time.Now()); b.Pod != "chat-0" {
		t.Errorf("bound to %s, want chat-0", b.Pod)
	}
}

func TestNothingIsLearnedFromUnknownPodsOrLongIDs(t *testing.T) {
	p := startProcessor(t, ServiceState{chat(learning), pods(3)})
	c, _ := p.request()
	c.response("10.9.9.9:1", ":status", "200", "mcp-session-id", "id-1")
	c.finish()
	c, _ = p.request()
	c.response("127.0.0.1:9100", ":status", "200", "mcp-session-id", strings.Repeat("x", MaxKey+1))
	c.finish()
	if n := p.table.Stats().Size; n != 0 {
		t.Errorf("%d bindings, want none", n)
	}
}

func TestIssuedCookie(t *testing.T) {
	p := startProcessor(t, ServiceState{chat(issuing), pods(3)})
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
	p := startProcessor(t, ServiceState{chat(issuing), pods(3)})
	c, r := p.request("x-session-id", "a")
	if r := c.response(destination(t, r), ":status", "200"); r.GetResponseHeaders().GetResponse() != nil {
		t.Errorf("the answer changes the response: %v", r)
	}
	c.finish()
}

// A browser cannot drop our HttpOnly cookie by itself: where its session is
// over for good, we take it back.
func TestRejectedCookieIsTakenBack(t *testing.T) {
	p := startProcessor(t, ServiceState{chat(issuing, rejecting), pods(2)})
	p.table.Move("chat", "id-1", "gone", time.Now())
	_, r := p.request("cookie", "stateful-route=id-1")
	checkRefusal(t, r, policy.ReasonPodLost)
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
