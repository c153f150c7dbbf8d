package e2e

import (
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// A pod whose /healthz fails leaves within thresholds × interval + 1 s; its
// sessions move once, the others never; it comes back by itself.
func TestAPodThatFailsItsChecksLeavesAndReturns(t *testing.T) {
	t.Parallel()
	const interval, unhealthyAfter = 500 * time.Millisecond, 2
	svc := harness.Chat(3)
	svc.HealthCheck = map[string]any{"http": "/healthz", "interval": interval.String(), "timeout": "400ms", "unhealthy_after": unhealthyAfter, "healthy_after": 1}
	svc.Balancing = map[string]any{"slow_start": "0s"}
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	keys := harness.Keys(60)
	before := s.Load(keys, 1, 8, harness.InHeader).Owners(t)
	lost := harness.On(before, "chat-1")
	if len(lost) == 0 {
		t.Fatal("the pod that will fail has no session")
	}

	traffic := s.Traffic(t, keys, 200*time.Millisecond)
	s.Misbehave(t, "chat-1", `{"healthz":"fail"}`)
	took := harness.Eventually(t, harness.Patience, "the pod is unhealthy", s.InState("chat", "chat-1", "unhealthy"))
	if bound := unhealthyAfter*interval + time.Second; took > bound {
		t.Errorf("the pod left after %v, want at most %v", took, bound)
	}
	s.WaitClients(t)
	after := s.Load(keys, 3, 8, harness.InHeader).Owners(t)
	if still := harness.On(after, "chat-1"); len(still) > 0 {
		t.Errorf("%d sessions are on the unhealthy pod", len(still))
	}
	for _, key := range lost {
		delete(before, key)
	}
	harness.SameOwners(t, before, after)

	s.Misbehave(t, "chat-1", `{"healthz":"ok"}`)
	harness.Eventually(t, interval+time.Second, "the pod is back", s.InState("chat", "chat-1", "ready"))
	s.WaitClients(t)
	histories := traffic.Stop()
	harness.NoFailures(t, histories)
	harness.MaxPods(t, histories, 2)
	harness.SameOwners(t, after, s.Load(keys, 2, 8, harness.InHeader).Owners(t))
	fresh := s.Load(harness.Keys(60), 1, 8, harness.InHeader).Owners(t)
	if len(harness.On(fresh, "chat-1")) == 0 {
		t.Error("the pod that came back takes no new session")
	}
	if moved, err := harness.Metric(s.ExtprocAdmin+"/metrics", "stateful_route_sessions_rebound_total"); err != nil || int(moved) != len(lost) {
		t.Errorf("%v rebinds counted, %v; want %d: one for each lost session", moved, err, len(lost))
	}
}
