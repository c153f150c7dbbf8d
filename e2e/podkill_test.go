package e2e

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// pleaseRetry are the headers by which a client asks Envoy to try another pod.
func pleaseRetry() harness.Edit {
	return func(r *http.Request) {
		r.Header.Set("x-envoy-retry-on", "connect-failure,refused-stream,reset,5xx,gateway-error")
		r.Header.Set("x-envoy-max-retries", "5")
		r.Header.Set("x-envoy-retry-grpc-on", "unavailable")
	}
}

// A pod's process is killed and nothing has found that out yet: its sessions are
// refused until it is there again, and never served by another pod. Requests
// without a session are tried again elsewhere.
func TestSessionsOfAKilledPodNeverReachAnother(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(3)
	svc.Balancing = map[string]any{"response_time_window": "5m"} // within which it must answer
	svc.HealthCheck = map[string]any{"none": true}
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	keys := harness.Keys(60)
	before := s.Load(keys, 1, 8, harness.InHeader).Owners(t)
	lost := harness.On(before, "chat-1")
	if len(lost) == 0 {
		t.Fatal("the pod that is killed has no session")
	}
	traffic := s.Traffic(t, clients(keys), 300*time.Millisecond)
	s.Pods["chat-1"].Kill(t)
	for _, key := range lost {
		for _, edit := range []harness.Edit{harness.Path("/"), pleaseRetry()} {
			a, err := s.Get(harness.InHeader(key), edit)
			if err != nil || a.Status != http.StatusServiceUnavailable {
				t.Fatalf("a session of the killed pod got %d from %q, %v; want 503", a.Status, a.Pod, err)
			}
		}
	}
	traffic.Round(t)
	unbound := s.LoadUnbound(600, 8)
	t.Logf("of 600 unbound requests %d failed, by pod: %v", len(unbound.Failures()), unbound.ByPod())
	if failed := len(unbound.Failures()); failed > 0 {
		t.Errorf("%d of 600 unbound requests failed; the first: %s", failed, unbound.Failures()[0])
	}

	s.Pods["chat-1"].Start(t)
	harness.Eventually(t, harness.Patience, "the pod serves its sessions again", func() error {
		_, err := s.OK(harness.InHeader(lost[0]))
		return err
	})
	traffic.Round(t)
	histories := traffic.Stop()
	harness.MaxPods(t, histories, 1)
	for _, h := range histories {
		if h.Key != "" && !slices.Contains(lost, h.Key) && len(h.Failures) > 0 {
			t.Errorf("a session of a living pod failed: %s", h.Failures[0])
		}
		for _, f := range h.Failures {
			if !strings.HasPrefix(f, "status 503") {
				t.Errorf("a client saw %q, want 503", f)
			}
		}
	}
	harness.SameOwners(t, before, s.Load(keys, 2, 8, harness.InHeader).Owners(t))
}

// Unless health checks are switched off, the same sessions are refused until the
// check has failed, then they move, once, and stay where they are when the pod is back.
func TestSessionsOfAKilledPodMoveOnceItIsUnhealthy(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{})
	keys := harness.Keys(60)
	before := s.Load(keys, 1, 8, harness.InHeader).Owners(t)
	lost := harness.On(before, "chat-1")
	if len(lost) == 0 {
		t.Fatal("the pod that is killed has no session")
	}
	traffic := s.Traffic(t, keys, 200*time.Millisecond)
	s.Pods["chat-1"].Kill(t)
	harness.Eventually(t, harness.Patience, "the pod is unhealthy", s.InState("chat", "chat-1", "unhealthy"))
	// xds-server knows it before it tells anybody: that extproc knows shows in a move.
	harness.Eventually(t, harness.Patience, "a session of the pod has moved", func() error {
		_, err := s.OK(harness.InHeader(lost[0]))
		return err
	})
	s.WaitClients(t)
	after := s.Load(keys, 2, 8, harness.InHeader).Owners(t)
	if n := len(harness.On(after, "chat-1")); n > 0 {
		t.Errorf("%d sessions are on the dead pod", n)
	}
	s.Pods["chat-1"].Start(t)
	harness.Eventually(t, harness.Patience, "the pod is back", s.InState("chat", "chat-1", "ready"))
	s.WaitClients(t)
	traffic.Round(t)
	histories := traffic.Stop()
	harness.MaxPods(t, histories, 2)
	for _, h := range histories {
		if !slices.Contains(lost, h.Key) && (len(h.Failures) > 0 || len(h.Pods) > 1) {
			t.Errorf("a session of a living pod was on %v with %d failures", h.Pods, len(h.Failures))
		}
	}
	harness.SameOwners(t, after, s.Load(keys, 2, 8, harness.InHeader).Owners(t))
	for _, key := range lost {
		delete(before, key)
	}
	harness.SameOwners(t, before, after)
}
