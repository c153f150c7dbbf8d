package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// creatingPods are pods that say which session they were sent; a request for /new/ID is told
// that it has a new session of that id.
func creatingPods(t *testing.T, svc *harness.Service) {
	t.Helper()
	for i := range svc.Pods.Static {
		name := svc.Pods.Static[i].Name
		pod := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if id, ok := strings.CutPrefix(r.URL.Path, "/new/"); ok {
				w.Header().Set("mcp-session-id", id)
			}
			fmt.Fprintf(w, `{"pod": %q, "session": %q}`, name, r.Header.Get("x-session-id"))
		}))
		t.Cleanup(pod.Close)
		svc.Pods.Static[i].Address = pod.Listener.Addr().String()
	}
}

// A session that a known one's pod creates is that pod's as soon as its client can hear of it,
// though nobody was asked about the request: what names it waits until it is bound.
func TestFastPathHoldsWhatNamesASession(t *testing.T) {
	t.Parallel()
	svc := homeless()
	svc.Session.Learn = []map[string]any{{"header": "mcp-session-id"}, {"cookie": "JSESSIONID"}}
	svc.Session.Key = append(svc.Session.Key, svc.Session.Learn...)
	creatingPods(t, &svc)
	s, keys, owners := startFast(t, svc, 20)
	const created = 500
	before, err := s.FastPathRequests("hit")
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := 0
	for i := range created {
		key, id := keys[i%len(keys)], fmt.Sprintf("created-%d", i)
		if a, err := s.OK(harness.InHeader(key), harness.Path("/new/"+id)); err != nil || a.Pod != owners[key] {
			t.Fatalf("session %s of %s is served by %q, %v", key, owners[key], a.Pod, err)
		}
		a, err := s.OK(harness.RawHeader("Mcp-Session-Id", id))
		if err != nil {
			t.Fatal(err)
		}
		if a.Pod != owners[key] {
			elsewhere++
		}
	}
	if elsewhere > 0 {
		t.Errorf("%d of %d sessions were served elsewhere than where they were created", elsewhere, created)
	}
	if after, err := s.FastPathRequests("hit"); err != nil || after-before < created {
		t.Errorf("%v of %d requests that created one asked nobody, %v", after-before, created, err)
	}
	// Known ones that name nothing new ask nobody at all.
	onFastPath(t, s, keys)
}

// Where requests that nobody decided are refused, so is a response that names a session which
// nobody binds; others go on.
func TestFastPathHoldsWithoutExtproc(t *testing.T) {
	t.Parallel()
	for loss, status := range map[string]int{"deny": 503, "allow": 200} {
		t.Run(loss, func(t *testing.T) {
			t.Parallel()
			svc := homeless()
			svc.Session.OnExtprocLoss = loss
			svc.Session.Learn = []map[string]any{{"header": "mcp-session-id"}}
			svc.Session.Key = append(svc.Session.Key, svc.Session.Learn...)
			creatingPods(t, &svc)
			s, keys, owners := startFast(t, svc, 4)
			s.Extproc.Kill(t)
			harness.SameOwners(t, owners, s.Load(keys, 5, 4, harness.InHeader).Owners(t))
			a, err := s.Get(harness.InHeader(keys[0]), harness.Path("/new/created"))
			if err != nil || a.Status != status {
				t.Errorf("status %d, want %d, %v", a.Status, status, err)
			}
		})
	}
}
