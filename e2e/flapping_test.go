package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// Two of three pods fail and pass their checks in turn, every two seconds. No session
// moves more than twice in half a minute, and the report names both pods.
func TestPodsThatFlapHardlyMoveSessions(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(3)
	svc.HealthCheck = map[string]any{"http": "/healthz", "interval": "400ms", "timeout": "400ms", "unhealthy_after": 2, "healthy_after": 1}
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	keys := harness.Keys(60)
	traffic := s.Traffic(t, keys, 400*time.Millisecond)
	issues := s.WatchIssues()
	t.Cleanup(func() { issues.Stop() })
	half := time.NewTicker(time.Second)
	defer half.Stop()
	for i := range 30 {
		first, second := "fail", "ok"
		if i%2 == 1 {
			first, second = second, first
		}
		s.Misbehave(t, "chat-1", fmt.Sprintf(`{"healthz":%q}`, first))
		s.Misbehave(t, "chat-2", fmt.Sprintf(`{"healthz":%q}`, second))
		<-half.C
	}
	histories := traffic.Stop()
	harness.NoFailures(t, histories)
	harness.MaxPods(t, histories, 3)
	moves := map[int]int{}
	for _, h := range histories {
		moves[len(h.Pods)-1]++
	}
	t.Logf("sessions by moves: %v", moves)
	if moves[1]+moves[2] == 0 {
		t.Error("no session moved: the pods did not flap")
	}
	seen := issues.Stop()
	for _, pod := range []string{"chat-1", "chat-2"} {
		if !seen[harness.Subject{Rule: "Flapping Pod", Service: "chat", Pod: pod}] {
			t.Errorf("%s is not named; issues: %v", pod, seen)
		}
	}
}
