package extproc

import (
	"errors"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

func cookieKey(s *statefulroute.Service) {
	s.Session.Key = []statefulroute.SessionSource{from(statefulroute.FromCookie, "sid")}
}

// Of several candidates the bound one wins, in whatever order; of several bound ones
// the one whose pod serves; where none is bound the first is claimed.
func TestDecideAmongCandidates(t *testing.T) {
	for name, c := range map[string]struct {
		keys    []string
		outcome outcome
		key     string
	}{
		"stale before live":                 {[]string{"stale", "live"}, known, "live"},
		"live before stale":                 {[]string{"live", "stale"}, known, "live"},
		"bound to a lost pod before live":   {[]string{"lost", "live"}, known, "live"},
		"bound to a lost pod before stale":  {[]string{"lost", "stale"}, rebound, "lost"},
		"stale before bound to a lost pod":  {[]string{"stale", "lost"}, rebound, "lost"},
		"none is bound: the first":          {[]string{"stale", "other"}, claimed, "stale"},
		"two live ones: the first, as sent": {[]string{"live", "alive"}, known, "live"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, chat(), pods(3))
			table := w.table.(MemoryTable).Table
			table.Move("chat", "live", "chat-1", t0)
			table.Move("chat", "alive", "chat-2", t0)
			table.Move("chat", "lost", "gone", t0)
			s := w.directory.service("chat")
			d := s.decide(t.Context(), w.table, s.place, c.keys, t0)
			if d.outcome != c.outcome || d.key != c.key || d.pod == nil {
				t.Fatalf("outcome %d of %q (%v), want %d of %q", d.outcome, d.key, d.err, c.outcome, c.key)
			}
			if b, ok := table.Peek("chat", c.key, t0); !ok || b.Pod != d.pod.Name {
				t.Errorf("sent to %s, bound to %q", d.pod.Name, b.Pod)
			}
			for _, key := range c.keys {
				if _, bound := table.Peek("chat", key, t0); bound && key != c.key && (key == "stale" || key == "other") {
					t.Errorf("%q was claimed, too", key)
				}
			}
		})
	}
}

// A table that cannot say whose one candidate is says nothing of the request.
func TestDecideAmongCandidatesWithoutATable(t *testing.T) {
	w := newWorld(t, chat(denying), pods(3))
	w.table = &answeringTable{Table: newMemory(t), lookup: answers("", errors.New("away"))}
	s := w.directory.service("chat")
	if d := s.decide(t.Context(), w.table, s.place, []string{"a", "b"}, t0); d.outcome != undecidable || d.key != "a" {
		t.Errorf("outcome %d of %q", d.outcome, d.key)
	}
}

func TestRequestWithAStaleAndALiveCookie(t *testing.T) {
	p := startProcessor(t, stateOf(chat(cookieKey), pods(3)))
	p.table.Move("chat", "live", "chat-2", time.Now())
	for _, header := range []string{"sid=stale; sid=live", "sid=live; sid=stale"} {
		c, r := p.request("cookie", header)
		if got := destination(t, r); got != "127.0.0.1:9102" {
			t.Errorf("%s: sent to %s", header, got)
		}
		c.finish()
	}
	if n := p.table.Stats().Size; n != 1 {
		t.Errorf("%d bindings, want 1", n)
	}
}

func TestLearnsWhatTheClientKeeps(t *testing.T) {
	p := startProcessor(t, stateOf(chat(learning), pods(3)))
	c, _ := p.request()
	c.response("127.0.0.1:9102", ":status", "200",
		"set-cookie", "JSESSIONID=new-1; Path=/",
		"set-cookie", "JSESSIONID=new-2; Path=/app",
		"set-cookie", "JSESSIONID=old; Path=/old; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
		"set-cookie", "JSESSIONID=older; Domain=example.com; Max-Age=0")
	c.finish()
	bound, _ := p.table.List("chat", "chat-2", 10, "")
	if len(bound) != 2 || p.table.Stats().Size != 2 {
		t.Errorf("bound are %v, want new-1 and new-2", bound)
	}
	for _, key := range []string{"new-1", "new-2"} {
		if _, r := p.request("cookie", "JSESSIONID="+key); destination(t, r) != "127.0.0.1:9102" {
			t.Errorf("%s goes to %s", key, destination(t, r))
		}
	}
}

// A browser's question whether it may send a request is no session, whatever it names.
func TestPreflightNeitherClaimsNorIssues(t *testing.T) {
	inQuery := func(s *statefulroute.Service) {
		s.Session.Key = append(s.Session.Key, from(statefulroute.FromQuery, "session"))
	}
	p := startProcessor(t, stateOf(chat(issuing, learning, inQuery), pods(3)))
	c := p.open("chat")
	r := c.exchange(requestMessage(":method", "OPTIONS", ":path", "/?session=a", "access-control-request-method", "POST"))
	if got := destination(t, r); got != "" {
		t.Errorf("sent to %s, want any pod", got)
	}
	r = c.response("127.0.0.1:9100", ":status", "204", "mcp-session-id", "b")
	if m := r.GetResponseHeaders().GetResponse(); m != nil {
		t.Errorf("the answer changes the response: %v", m)
	}
	c.finish()
	if n := p.table.Stats().Size; n != 0 {
		t.Errorf("%d bindings, want none", n)
	}
	c = p.open("chat") // an OPTIONS that is no preflight is as any other request
	if r = c.exchange(requestMessage(":method", "OPTIONS", ":path", "/?session=a")); destination(t, r) == "" {
		t.Error("a request is left to Envoy, though it names a session")
	}
	c.finish()
}
