package extproc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/sessionkey"
)

// A key that is too long is counted each time and logged once a minute for each service,
// without what was sent.
func TestRefusedKeysAreCountedAndLogged(t *testing.T) {
	mail := chat(learning)
	mail.Name = "mail"
	d := newDirectory(t, stateOf(chat(learning), pods(2)), stateOf(mail, pods(2)))
	core, logs := observer.New(zap.InfoLevel)
	server, err := NewServer(ServerOptions{Directory: d, Table: newMemory(t), Log: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("secret-", sessionkey.MaxKey)
	ask := func(service string, at time.Time) {
		x := &exchange{server: server, service: d.service(service), began: at}
		x.begin(t.Context(), raw("x-session-id", long))
		if x.decision.outcome != unbound {
			t.Errorf("outcome %d", x.decision.outcome)
		}
	}
	lines := func() int { return logs.FilterMessageSnippet("a session key is not taken").Len() }
	for i, c := range []struct {
		service string
		at      time.Duration
		lines   int
	}{{"chat", 0, 1}, {"chat", time.Second, 1}, {"mail", time.Second, 2}, {"chat", 59 * time.Second, 2}, {"chat", time.Minute, 3}, {"chat", 61 * time.Second, 3}} {
		if i == 3 { // a service that changed has not logged less
			d.Set(append(d.Services()[1:], stateOf(chat(learning, rejecting), pods(2))), true)
		}
		if ask(c.service, t0.Add(c.at)); lines() != c.lines {
			t.Errorf("%s after %v: %d lines, want %d", c.service, c.at, lines(), c.lines)
		}
	}
	x := &exchange{server: server, service: d.service("chat"), began: t0}
	x.begin(t.Context(), raw(":path", "/"))
	x.response(t.Context(), raw(":status", "200", "mcp-session-id", long), "127.0.0.1:9100")
	for name, want := range map[string]float64{
		`stateful_route_keys_refused_total{reason="too_long",service="chat"}`:         5,
		`stateful_route_keys_refused_total{reason="too_long",service="mail"}`:         1,
		`stateful_route_keys_refused_total{reason="learned_too_long",service="chat"}`: 1,
	} {
		if got := metric(t, d, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	for _, e := range logs.All() {
		if strings.Contains(fmt.Sprint(e.Message, e.ContextMap()), "secret") {
			t.Error("the key is in the log")
		}
	}
}

// A long key is one session, whether a request or a response names it, and is kept as its
// beginning and its hash.
func TestLongKeysAreBound(t *testing.T) {
	p := startProcessor(t, stateOf(chat(learning, func(s *statefulroute.Service) {
		s.Session.Key = append(s.Session.Key, from(statefulroute.FromCookie, "token"))
	}), pods(3)))
	long := strings.Repeat("t", sessionkey.MaxKey)
	_, r := p.request("cookie", "token="+long)
	owner := destination(t, r)
	if owner == "" {
		t.Fatal("a long key goes unbound")
	}
	for range 5 {
		if _, r := p.request("x-session-id", long); destination(t, r) != owner {
			t.Errorf("sent to %s, then to %s", owner, destination(t, r))
		}
	}
	if _, r := p.request("x-session-id", long[1:]); destination(t, r) == "" || p.table.Stats().Size != 2 {
		t.Errorf("another long key: %d bindings, want 2", p.table.Stats().Size)
	}
	c, _ := p.request()
	c.response("127.0.0.1:9102", ":status", "200", "mcp-session-id", long)
	c.finish()
	if _, r := p.request("x-session-id", long); destination(t, r) != "127.0.0.1:9102" {
		t.Errorf("a session that chat-2 created goes to %s", destination(t, r))
	}
	all, _ := p.table.List("chat", "", 10, "")
	for _, b := range all {
		if len(b.Key) > 400 || !strings.HasPrefix(b.Key, long[:256]) {
			t.Errorf("the table keeps %d bytes of a key", len(b.Key))
		}
	}
	// A pod that repeats a long id in another spelling has not created it.
	p.table.Move("chat", "attacker", "chat-1", time.Now())
	c = p.open("chat")
	c.exchange(requestMessage("x-session-id", "attacker", "mcp-session-id", strings.ToUpper(long)))
	c.response("127.0.0.1:9101", ":status", "200", "mcp-session-id", long)
	c.finish()
	if b, _ := p.table.Peek("chat", sessionkey.TableKey(long), time.Now()); b.Pod != "chat-2" {
		t.Errorf("the session moved to %s", b.Pod)
	}
}
