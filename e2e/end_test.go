package e2e

import (
	"net/http"
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
