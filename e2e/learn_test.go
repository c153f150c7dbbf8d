package e2e

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// echoSessions is a pod that answers with the session ids it was sent: the last header
// line, in lower case, and the last cookie, as some frameworks do. A request for
// /new/ID is told that it has a new session of that id.
func echoSessions(_ int, w http.ResponseWriter, r *http.Request) {
	ids := r.Header.Values("mcp-session-id")
	if id, ok := strings.CutPrefix(r.URL.Path, "/new/"); ok {
		ids = []string{id}
	}
	if len(ids) > 0 {
		w.Header().Set("mcp-session-id", strings.ToLower(ids[len(ids)-1]))
	}
	for _, c := range r.CookiesNamed("JSESSIONID") {
		http.SetCookie(w, c)
	}
}

// A client with a session of its own cannot have its pod take over somebody
// else's by naming it as well.
func TestClientCannotMoveAnothersSession(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(2)
	svc.Session.Learn = []map[string]any{{"header": "mcp-session-id"}, {"cookie": "JSESSIONID"}}
	svc.Session.Key = append(svc.Session.Key, svc.Session.Learn...)
	answeringPods(t, &svc, echoSessions)
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	const attacker, victim = "attacker", "victim"
	bind(t, s, attacker, "chat-1")
	for name, attack := range map[string]harness.Edit{
		"header":        harness.RawHeader("Mcp-Session-Id", victim),
		"second header": harness.RawHeader("Mcp-Session-Id", "other", victim),
		"upper case":    harness.RawHeader("Mcp-Session-Id", strings.ToUpper(victim)),
		"cookie":        harness.RawHeader("Cookie", "JSESSIONID="+victim),
		"second cookie": harness.RawHeader("Cookie", "JSESSIONID=other", "JSESSIONID="+victim),
	} {
		bind(t, s, victim, "chat-0")
		if a, err := s.OK(harness.InHeader(attacker), attack); err != nil || a.Pod != "chat-1" {
			t.Fatalf("%s: the attacker is served by %q, %v", name, a.Pod, err)
		}
		if a, err := s.OK(harness.RawHeader("Mcp-Session-Id", victim)); err != nil || a.Pod != "chat-0" {
			t.Errorf("%s: the victim is now served by %q, %v", name, a.Pod, err)
		}
	}
	// What a pod creates by itself is its own, and the move can be seen.
	bind(t, s, victim, "chat-0")
	if _, err := s.OK(harness.InHeader(attacker), harness.Path("/new/"+victim)); err != nil {
		t.Fatal(err)
	}
	if a, err := s.OK(harness.RawHeader("Mcp-Session-Id", victim)); err != nil || a.Pod != "chat-1" {
		t.Errorf("a session that chat-1 created is served by %q, %v", a.Pod, err)
	}
	if n, err := harness.Metric(s.ExtprocAdmin+"/metrics", "stateful_route_sessions_rebound_total", `reason="learned"`); err != nil || n != 1 {
		t.Errorf("%v learned moves counted, %v", n, err)
	}
}

// bind puts a session on a pod as an operator does.
func bind(t *testing.T, s *harness.Stack, key, pod string) {
	t.Helper()
	if _, err := harness.Call(http.MethodPut, s.ExtprocAdmin+"/api/v1/sessions/chat/"+key, `{"pod": "`+pod+`"}`); err != nil {
		t.Fatal(err)
	}
}
