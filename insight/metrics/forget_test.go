package metrics

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// servedWith returns the names of the values that contain text.
func servedWith(t *testing.T, m *Monitor, text string) []string {
	t.Helper()
	values, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range values {
		if strings.Contains(name, text) {
			names = append(names, name)
		}
	}
	return names
}

// More generations of pods than there are places, as a year of deployments brings.
func TestPodsOfTheNewestGenerationHaveTheirOwnNames(t *testing.T) {
	m := newTestMonitor(t, MonitorOptions{})
	s := m.Service("chat")
	generation := func(i int) []string {
		return []string{fmt.Sprintf("chat-%d-a", i), fmt.Sprintf("chat-%d-b", i)}
	}
	const last = 200
	for i := range last + 1 {
		for _, pod := range generation(i) {
			s.PodWeight(pod, 7)
			s.PodSessions(pod, 1)
			s.HealthCheck(pod, time.Millisecond, true)
			s.Selected(pod, time.Microsecond, true)
			s.Request(pod, "GET", 200, time.Millisecond, "")
		}
		s.KeepPods(generation(i))
	}
	if names := servedWith(t, m, `pod="other"`); len(names) > 0 {
		t.Errorf("served: %v", names)
	}
	for _, pod := range generation(last) {
		expectValues(t, m, map[string]float64{
			`stateful_route_pod_weight{pod="` + pod + `",service="chat"}`:                             7,
			`stateful_route_requests_total{code="2xx",method="GET",pod="` + pod + `",service="chat"}`: 1,
		})
	}
	if names, mine := servedWith(t, m, `pod="chat-`), servedWith(t, m, fmt.Sprintf(`pod="chat-%d-`, last)); len(names) != len(mine) {
		t.Errorf("%d values of pods are served, %d of them of the pods that are there", len(names), len(mine))
	}
}

// everySeries has every series of a pod counted by whoever holds it.
func everySeries(p *podMetrics) {
	for method := range methods {
		for code := range statusClasses {
			p.request(method, code).Inc()
		}
	}
	p.zeros()
	p.choice(true).Inc()
	p.choice(false).Inc()
	p.check().Inc()
	p.checkFailure().Inc()
	p.durations().Observe(1)
	p.errors.get("aborted").Inc()
}

// A request that began before its pod was forgotten ends after it: on the pod it
// holds it brings nothing back, and what it brings back by the pod's name goes
// with the next KeepPods.
func TestALateRequestBringsNothingBackForGood(t *testing.T) {
	m := newTestMonitor(t, MonitorOptions{MaxPods: 1})
	s := m.Service("chat")
	held := s.pod("gone")
	held.request(0, 2).Inc()
	s.KeepPods(nil)
	everySeries(held)
	if names := servedWith(t, m, "gone"); len(names) > 0 {
		t.Fatalf("brought back by a holder: %v", names)
	}
	s.Request("gone", "GET", 200, time.Millisecond, "")
	s.Error("gone", "aborted")
	s.PodWeight("gone", 1)
	if names := servedWith(t, m, "gone"); len(names) == 0 {
		t.Fatal("a request by the pod's name is not counted")
	}
	s.KeepPods([]string{"new"})
	s.PodWeight("new", 1)
	if names := servedWith(t, m, "gone"); len(names) > 0 {
		t.Errorf("still served: %v", names)
	}
	expectValues(t, m, map[string]float64{`stateful_route_pod_weight{pod="new",service="chat"}`: 1})
}

func TestServicesThatAreGoneAreForgotten(t *testing.T) {
	m := newTestMonitor(t, MonitorOptions{MaxPods: 3, MaxServices: 2})
	var first *ServiceMetrics
	for i := range 20 {
		name := fmt.Sprintf("service-%d", i)
		m.KeepServices([]string{name})
		s := m.Service(name)
		if first == nil {
			first = s
		}
		s.TableHit()
		s.Rebound("removed")
		s.KeyRefused("too_long")
		s.Selected("", time.Microsecond, false)
		for j := range 4 { // one more than there are places for
			s.PodWeight(fmt.Sprintf("pod-%d-%d", i, j), 1)
			s.HealthCheck(fmt.Sprintf("pod-%d-%d", i, j), time.Millisecond, true)
		}
	}
	// Late callers of the first one.
	first.Request("pod-0-0", "GET", 200, time.Millisecond, "")
	first.Request("pod-0-9", "GET", 200, time.Millisecond, "")
	first.Rebound("a reason of its own")
	first.KeyRefused("another reason of its own")
	values, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for name := range values {
		if strings.Contains(name, "service=") && !strings.Contains(name, `service="service-19"`) {
			t.Errorf("%s is served", name)
		}
	}
	expectValues(t, m, map[string]float64{
		`stateful_route_cache_hits_total{service="service-19"}`:               1,
		`stateful_route_pod_weight{pod="pod-19-2",service="service-19"}`:      1,
		`stateful_route_health_check_total{pod="other",service="service-19"}`: 1,
	})
	if n := m.pods.count.Load(); n != 3 {
		t.Errorf("%d pod names are taken, want those of the last service", n)
	}
}

// Pods with generated names, as a deployment of many versions leaves them: what
// is served is about those that are there, and they never share one name.
func TestMetricsFollowThePods(t *testing.T) {
	m := newTestMonitor(t, MonitorOptions{})
	for i := range 201 {
		pods := map[string]uint32{fmt.Sprintf("chat-%d", i): 70}
		m.PodWeights(map[string]map[string]uint32{"chat": pods, fmt.Sprintf("version-%d", i): pods})
		m.Service("chat").HealthCheck(fmt.Sprintf("chat-%d", i), time.Millisecond, true)
		m.PodWeights(map[string]map[string]uint32{"chat": pods})
	}
	expectValues(t, m, map[string]float64{
		`stateful_route_pod_weight{pod="chat-200",service="chat"}`:         70,
		`stateful_route_health_check_total{pod="chat-200",service="chat"}`: 1,
	})
	for _, name := range servedWith(t, m, "service=") {
		if !strings.Contains(name, `service="chat"`) || strings.Contains(name, "pod=") && !strings.Contains(name, `pod="chat-200"`) {
			t.Errorf("%s is served", name)
		}
	}
}
