package metrics

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestPodsComeAndGoUnderTraffic is for the race detector, and checks that no
// request is lost to a copy of the pods' table.
func TestPodsComeAndGoUnderTraffic(t *testing.T) {
	m := newTestMonitor(t, MonitorOptions{MaxPods: 8})
	s := m.Service("chat")
	const workers, requests = 4, 500
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range requests {
				s.Request("stable", "GET", 200, time.Millisecond, "")
				s.Selected(fmt.Sprintf("pod-%d", (w+i)%12), time.Microsecond, true)
				m.Service(fmt.Sprintf("service-%d", i%5)).Rebound("pod_lost")
			}
		})
	}
	wg.Go(func() {
		for i := range requests {
			s.ForgetPod(fmt.Sprintf("pod-%d", i%12))
			s.KeepPods([]string{"stable", "pod-1"})
			if _, err := m.Snapshot(); err != nil {
				t.Error(err)
				return
			}
			if i == requests/10 {
				break
			}
		}
	})
	wg.Wait()
	expectValues(t, m, map[string]float64{
		`stateful_route_requests_total{code="2xx",method="GET",pod="stable",service="chat"}`: workers * requests,
		`stateful_route_pod_selection_duration_seconds_count{service="chat"}`:                workers * requests,
	})
	s.KeepPods(nil)
	if n := m.pods.count.Load(); n != 0 {
		t.Errorf("%d pod names are still taken after all pods went", n)
	}
}

// A pod that another request just added is found, also where the map is full by now.
func TestAnEntryAddedMeanwhileIsFound(t *testing.T) {
	h := newBoundedMap(2, func(key string) string { return key })
	for _, key := range []string{"stable", "a", "b"} {
		h.get(key)
	}
	if got := h.add("stable"); got != "stable" {
		t.Errorf("its requests count for %q", got)
	}
}
