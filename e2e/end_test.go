package e2e

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// endSession is a pod that takes every session, and ends one by DELETE unless it is
// asked for /kept.
func endSession(_ int, w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodDelete && r.URL.Path == "/kept":
		w.WriteHeader(http.StatusMethodNotAllowed)
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	default:
		w.Header().Set("mcp-session-id", "one")
	}
}

// By whatever request an MCP server or an application ends a session: its pod is free of
// it, and whoever names it again begins anew.
func TestARequestEndsItsSession(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(2)
	svc.Session.Learn = []map[string]any{{"header": "mcp-session-id"}}
	svc.Session.End = []map[string]any{{"method": "DELETE"}, {"method": "POST", "path": "/end$"}}
	answeringPods(t, &svc, endSession)
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	named := harness.RawHeader("Mcp-Session-Id", "one")
	by := func(method string) harness.Edit { return func(r *http.Request) { r.Method = method } }
	bound := func(want int) {
		t.Helper()
		if sessions, err := shownSessions(s); err != nil || len(sessions) != want {
			t.Errorf("%d sessions, %v: want %d", len(sessions), err, want)
		}
	}
	for _, end := range []struct {
		method, path string
		status       int
	}{{"DELETE", "/mcp", 204}, {"POST", "/app/end", 200}} {
		if _, err := s.OK(); err != nil { // the pod names the session
			t.Fatal(err)
		}
		bound(1)
		if a, err := s.Get(named, by("DELETE"), harness.Path("/kept")); err != nil || a.Status != 405 {
			t.Fatalf("status %d, %v", a.Status, err)
		}
		if _, err := s.OK(named, by("POST"), harness.Path("/end/not")); err != nil {
			t.Fatal(err)
		}
		bound(1)
		if a, err := s.Get(named, by(end.method), harness.Path(end.path)); err != nil || a.Status != end.status {
			t.Fatalf("status %d, %v", a.Status, err)
		}
		bound(0)
		if _, err := s.OK(named); err != nil {
			t.Errorf("an ended session that comes back: %v", err)
		}
		bound(1)
		if _, err := s.Get(named, by(end.method), harness.Path(end.path)); err != nil {
			t.Fatal(err)
		}
		bound(0)
	}
}

// Whoever waits for a pod to be empty need not wait for the idle timeout of sessions that
// end: the last DELETE is the end of the wait, and not the one before.
func TestADrainReturnsWhenItsSessionsHaveEnded(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(2)
	svc.Session.End = []map[string]any{{"method": "DELETE"}}
	answeringPods(t, &svc, func(_ int, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/kept" {
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
	})
	s := start(t, harness.Options{Services: []harness.Service{svc}}) // sessions are kept for 30 minutes
	for _, key := range []string{"alice", "bob"} {
		bind(t, s, key, "chat-0")
	}
	drain := s.Routectl(t, "pods", "drain", "chat", "chat-0", "--wait")
	waits := func(text string) {
		t.Helper()
		harness.Eventually(t, harness.Patience, "routectl says "+text, func() error {
			if log := drain.Log(t); !strings.Contains(log, text) {
				return errors.New(log)
			}
			return nil
		})
		if !drain.Running() {
			t.Errorf("routectl ended with %d: %s", drain.ExitCode(), drain.Log(t))
		}
	}
	end := func(key, path string, want int) {
		t.Helper()
		a, err := s.Get(harness.InHeader(key), harness.Path(path), func(r *http.Request) { r.Method = http.MethodDelete })
		if err != nil || a.Status != want {
			t.Errorf("DELETE %s of %s: status %d, %v", path, key, a.Status, err)
		}
	}
	waits("2 sessions left")
	end("alice", "/kept", http.StatusMethodNotAllowed)
	end("bob", "/", http.StatusOK)
	waits("1 session left")
	if a, err := s.OK(harness.InHeader("alice")); err != nil || a.Pod != "chat-0" {
		t.Errorf("a session that goes on: %+v, %v", a, err)
	}
	end("alice", "/", http.StatusOK)
	if code := drain.ExitCode(); code != 0 {
		t.Errorf("routectl ended with %d: %s", code, drain.Log(t))
	}
	for _, key := range []string{"alice", "bob"} {
		if a, err := s.OK(harness.InHeader(key)); err != nil || a.Pod != "chat-1" {
			t.Errorf("%s begins anew at %q, %v", key, a.Pod, err)
		}
	}
}
