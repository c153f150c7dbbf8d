package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// A pod whose /healthz fails leaves Envoy once so many probes have failed as are
// configured; its sessions move once, the others never; it comes back by itself.
func TestAPodThatFailsItsChecksLeavesAndReturns(t *testing.T) {
	t.Parallel()
	const unhealthyAfter = 2
	svc := harness.Chat(3)
	svc.HealthCheck = map[string]any{"http": "/healthz", "interval": "500ms", "timeout": "500ms", "unhealthy_after": unhealthyAfter, "healthy_after": 1}
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
	took := harness.Eventually(t, harness.Patience, "Envoy has taken the pod out", s.InEnvoy("chat", "chat-1", false))
	t.Logf("the pod left Envoy after %v", took.Round(time.Millisecond))
	harness.Eventually(t, harness.Patience, "the pod is unhealthy", s.InState("chat", "chat-1", "unhealthy"))
	if failures := probeFailures(t, s, "chat-1"); failures < unhealthyAfter {
		t.Errorf("%v failed probes of the pod counted, want at least %d", failures, unhealthyAfter)
	}
	if failures := probeFailures(t, s, "chat-0"); failures > 0 {
		t.Errorf("%v failed probes of a healthy pod counted", failures)
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
	harness.Eventually(t, harness.Patience, "the pod is back in Envoy", s.InEnvoy("chat", "chat-1", true))
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

// probeFailures is how many probes of a pod failed, as counted; 0 before the first.
func probeFailures(t *testing.T, s *harness.Stack, pod string) float64 {
	t.Helper()
	n, err := harness.Metric(s.XDSAdmin+"/metrics", "stateful_route_health_check_failures_total", `pod="`+pod+`"`)
	if err != nil && !errors.Is(err, harness.ErrNoMetric) {
		t.Fatal(err)
	}
	return n
}

// What all pods fail for takes none out, though their probes find out one after the
// other. When one passes again and the others do not, the fault is theirs.
func TestAllPodsFailingTheirChecksKeepTheirSessions(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(3)
	svc.HealthCheck = map[string]any{"http": "/healthz", "interval": "300ms", "timeout": "300ms", "unhealthy_after": 2, "healthy_after": 1}
	svc.Balancing = map[string]any{"slow_start": "0s"}
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	pods := []string{"chat-0", "chat-1", "chat-2"}
	keys := harness.Keys(60)
	before := s.Load(keys, 1, 8, harness.InHeader).Owners(t)

	traffic := s.Traffic(t, keys[:20], 200*time.Millisecond)
	for _, pod := range pods {
		s.Misbehave(t, pod, `{"healthz":"fail"}`)
	}
	for _, pod := range pods {
		harness.Eventually(t, harness.Patience, "ten probes of "+pod+" failed", func() error {
			if n := probeFailures(t, s, pod); n < 10 {
				return fmt.Errorf("%v failed", n)
			}
			return s.InEnvoy("chat", pod, true)()
		})
	}
	harness.SameOwners(t, before, s.Load(keys, 1, 8, harness.InHeader).Owners(t))
	harness.MaxPods(t, traffic.Stop(), 1)

	s.Misbehave(t, "chat-0", `{"healthz":"ok"}`)
	for _, pod := range pods[1:] {
		harness.Eventually(t, harness.Patience, pod+" is out of Envoy", s.InEnvoy("chat", pod, false))
	}
	s.WaitClients(t)
	for key, owner := range s.Load(keys, 2, 8, harness.InHeader).Owners(t) {
		if owner != "chat-0" {
			t.Fatalf("session %s is on %s", key, owner)
		}
	}
	for _, pod := range pods[1:] {
		s.Misbehave(t, pod, `{"healthz":"ok"}`)
		harness.Eventually(t, harness.Patience, pod+" is back in Envoy", s.InEnvoy("chat", pod, true))
	}
}

// All pods answer their probes wrongly, as after a deployment with another path, and stay. One
// whose process ends is found all the same: its sessions are rebound, or refused, and
// no other notices anything. Started anew it is taken back, though wrong as all are.
func TestAKilledPodIsFoundThoughAllFailTheirChecks(t *testing.T) {
	t.Parallel()
	for _, onPodLoss := range []string{"rebind", "reject"} {
		t.Run(onPodLoss, func(t *testing.T) {
			t.Parallel()
			svc := harness.Chat(3)
			svc.Session.OnPodLoss = onPodLoss
			svc.HealthCheck = map[string]any{"http": "/healthz", "interval": "300ms", "timeout": "300ms", "unhealthy_after": 2, "healthy_after": 1}
			svc.Balancing = map[string]any{"slow_start": "0s"}
			s := start(t, harness.Options{Services: []harness.Service{svc}})
			for _, pod := range []string{"chat-0", "chat-1", "chat-2"} {
				s.Misbehave(t, pod, `{"healthz":"fail"}`)
			}
			for _, pod := range []string{"chat-0", "chat-1", "chat-2"} {
				harness.Eventually(t, harness.Patience, "four probes of "+pod+" failed", func() error {
					if n := probeFailures(t, s, pod); n < 4 {
						return fmt.Errorf("%v failed", n)
					}
					return s.InEnvoy("chat", pod, true)()
				})
			}
			keys := harness.Keys(60)
			before := s.Load(keys, 1, 8, harness.InHeader).Owners(t)
			lost := harness.On(before, "chat-1")
			if len(lost) == 0 {
				t.Fatal("the pod that is killed has no session")
			}
			traffic := s.Traffic(t, keys, 200*time.Millisecond)
			s.Pods["chat-1"].Kill(t)
			took := harness.Eventually(t, harness.Patience, "Envoy has taken the pod out", s.InEnvoy("chat", "chat-1", false))
			t.Logf("the pod left Envoy after %v", took.Round(time.Millisecond))
			s.WaitClients(t)
			for _, key := range lost {
				a, err := s.Get(harness.InHeader(key))
				switch reason := a.Header.Get("x-stateful-route-reason"); {
				case err != nil:
					t.Fatal(err)
				case onPodLoss == "reject" && reason != "pod-lost":
					t.Errorf("a session of the killed pod got %d, reason %q, from %q", a.Status, reason, a.Pod)
				case onPodLoss == "rebind" && (a.Pod == "" || a.Pod == "chat-1"):
					t.Errorf("a session of the killed pod got %d from %q", a.Status, a.Pod)
				}
			}
			traffic.Round(t)
			histories := traffic.Stop()
			harness.MaxPods(t, histories, 2)
			for _, h := range histories {
				if !slices.Contains(lost, h.Key) && (len(h.Failures) > 0 || len(h.Pods) > 1) {
					t.Errorf("a session of a living pod was on %v with %d failures", h.Pods, len(h.Failures))
				}
			}

			// It fails its probes from its first one on, for all it knows is 404.
			wrong := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: harness.Patience}
			l, err := net.Listen("tcp", s.PodAddress(t, "chat-1"))
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- wrong.Serve(l) }()
			t.Cleanup(func() { _ = wrong.Close(); <-done })
			harness.Eventually(t, harness.Patience, "the pod is back in Envoy", s.InEnvoy("chat", "chat-1", true))
		})
	}
}
