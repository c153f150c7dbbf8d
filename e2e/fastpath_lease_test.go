package e2e

import (
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
	"github.com/stateful-route/stateful-route/internal/redistest"
)

// startFastSharing is a stack of replicas that share their bindings, of which the first shares
// its table with Envoy as well, and sessions that Envoy knows.
func startFastSharing(t *testing.T, n, sessions int) (s *harness.Stack, keys []string, owners map[string]string) {
	t.Helper()
	svc := homeless()
	svc.Session.OnStoreLoss = "deny"
	s = start(t, harness.Options{
		Services: []harness.Service{svc}, Extprocs: make([]harness.Network, n), FastPath: harness.FastPathOn,
		Store: map[string]any{"valkey": map[string]any{"addresses": []string{redistest.Start(t).Addr()}, "lease": storeLease.String(), "timeout": "1900ms"}},
	})
	keys = harness.Keys(sessions)
	owners = s.Load(keys, 1, 8, harness.InHeader).Owners(t)
	onFastPath(t, s, keys)
	return s, keys, owners
}

// A process that is stopped cannot take a session out of its table. So nobody moves one before
// its lease is over, and then Envoy does not go by the table any more.
func TestFastPathEndsWithTheLease(t *testing.T) {
	t.Parallel()
	s, keys, owners := startFastSharing(t, 2, 30)
	s.Extproc.Signal(syscall.SIGSTOP)
	t.Cleanup(func() { s.Extproc.Signal(syscall.SIGCONT) })
	elsewhere := map[string]string{"chat-0": "chat-1", "chat-1": "chat-2", "chat-2": "chat-0"}
	for _, key := range keys {
		to := elsewhere[owners[key]]
		if _, err := harness.Call(http.MethodPut, s.Replicas[1].Admin+"/api/v1/sessions/chat/"+key, `{"pod": "`+to+`"}`); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			a, err := s.Get(harness.InHeader(key))
			if err != nil || a.Status == http.StatusOK && a.Pod != to {
				t.Errorf("moved from %s to %s while the first replica stands, and served by %q, %v", owners[key], to, a.Pod, err)
			}
		}
		owners[key] = to
	}
	// The table's owner goes on with what has happened meanwhile.
	s.Extproc.Signal(syscall.SIGCONT)
	for range 5 {
		for _, key := range keys {
			if a, err := s.Get(harness.InHeader(key)); err != nil || a.Status == http.StatusOK && a.Pod != owners[key] {
				t.Errorf("served by %q after the first replica went on, its pod is %s, %v", a.Pod, owners[key], err)
			}
		}
	}
	onFastPath(t, s, keys)
	harness.SameOwners(t, owners, s.Load(keys, 3, 8, harness.InHeader).Owners(t))
}

// Of a single process that is stopped the table is in use until its lease is over, and then
// nobody answers.
func TestFastPathOfAStoppedExtprocEnds(t *testing.T) {
	t.Parallel()
	s, keys, owners := startFastSharing(t, 1, 10)
	s.Extproc.Signal(syscall.SIGSTOP)
	t.Cleanup(func() { s.Extproc.Signal(syscall.SIGCONT) })
	answered, refused := 0, 0
	for until := time.Now().Add(harness.Patience); refused < 20 && time.Now().Before(until); {
		key := keys[(answered+refused)%len(keys)]
		a, err := s.Get(harness.InHeader(key))
		switch {
		case err != nil || a.Status == http.StatusOK && a.Pod != owners[key]:
			t.Fatalf("served by %q, its pod is %s, %v", a.Pod, owners[key], err)
		case a.Status == http.StatusOK && refused > 0:
			t.Fatalf("the table is gone by after %d were refused", refused)
		case a.Status == http.StatusOK:
			answered++
		default:
			refused++
		}
	}
	if answered == 0 || refused < 20 {
		t.Errorf("%d were answered, then %d refused", answered, refused)
	}
	t.Logf("%d requests of known sessions were answered within the lease, and none later", answered)
}
