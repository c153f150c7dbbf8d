package e2e

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// Requests without a session ask nobody, not even those whose pod is hardly seen, and each counts for
// the pod that answered it: in the metrics, by how it ended, and in the response times that xds-server has.
func TestFastPathCountsRequestsWithoutASession(t *testing.T) {
	t.Parallel()
	s, _, _ := startFast(t, homeless(), 3)
	const n = 300
	count := func(labels ...string) float64 {
		t.Helper()
		v, err := harness.Metric(s.ExtprocAdmin+"/metrics", "stateful_route_requests_total", labels...)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	asked := func() float64 {
		t.Helper()
		v, err := s.FastPathRequests("no_key")
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	settled(t, func() float64 { return count() })
	pods := []string{"chat-0", "chat-1", "chat-2"}
	before, askedBefore, hits := map[string]float64{}, asked(), hitsOf(t, s)
	for _, pod := range pods {
		before[pod] = count(`pod="` + pod + `"`)
	}
	s.Misbehave(t, "chat-1", `{"delay":"100ms"}`)
	var mu sync.Mutex
	served := map[string]int{}
	harness.Each(n, 8, func(int) {
		a, err := s.OK(harness.Path("/"))
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		served[a.Pod]++
	})
	harness.Eventually(t, harness.Patience, "each request is its pod's", func() error {
		for _, pod := range pods {
			if got := count(`pod="`+pod+`"`, `code="2xx"`) - before[pod]; got != float64(served[pod]) {
				return fmt.Errorf("%s: %v of %d", pod, got, served[pod])
			}
		}
		return nil
	})
	if v := asked() - askedBefore; v != 0 {
		t.Errorf("%v of %d requests asked", v, n)
	}
	if v := hitsOf(t, s) - hits; v != 0 {
		t.Errorf("%v requests without a session found one", v)
	}
	harness.Eventually(t, harness.Patience, "the slow pod is known to be slow", func() error {
		rows, err := s.PodRows("chat")
		if fast, slow := rows["chat-0"].ResponseTime, rows["chat-1"].ResponseTime; err == nil && slow <= fast {
			err = fmt.Errorf("%v s, another's %v s", slow, fast)
		}
		return err
	})
}

// hitsOf is how many requests found their sessions.
func hitsOf(t *testing.T, s *harness.Stack) float64 {
	t.Helper()
	v, err := harness.Metric(s.ExtprocAdmin+"/metrics", "stateful_route_cache_hits_total")
	if err != nil {
		t.Fatal(err)
	}
	return v
}
