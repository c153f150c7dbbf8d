package metrics

import (
	"maps"
	"strings"
	"testing"
	"time"
)

// Requests in bulk leave what they would have left one by one.
func TestBulk(t *testing.T) {
	one, many := newTestMonitor(t, MonitorOptions{}), newTestMonitor(t, MonitorOptions{})
	var b Bulk
	for _, r := range []struct {
		method string
		status int
		n      uint64
	}{{"GET", 200, 7}, {"GET", 503, 2}, {"BREW", 418, 1}, {"POST", 0, 3}} {
		b.Requests[MethodIndex(r.method)][StatusClass(r.status)] = r.n
		b.Durations = append(b.Durations, DurationCount{30 * time.Millisecond, r.n})
		for range r.n {
			one.Service("chat").Request("chat-0", r.method, r.status, 30*time.Millisecond, "")
		}
	}
	b.Aborted, b.Misroutes = 3, 1
	for range 3 {
		one.Service("chat").Error("chat-0", "aborted")
		one.Service("chat").TableHit()
	}
	one.Service("chat").Misroute("chat-0")
	many.Service("chat").Bulk("chat-0", &b)
	many.Service("chat").TableHits(3)
	want, got := chatSeries(t, one), chatSeries(t, many)
	if !maps.Equal(got, want) || len(want) < 10 {
		t.Errorf("in bulk\n%v\none by one\n%v", got, want)
	}
}

// chatSeries are the values of the service's series.
func chatSeries(t *testing.T, m *Monitor) map[string]float64 {
	t.Helper()
	all, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(all, func(name string, _ float64) bool { return !strings.Contains(name, `service="chat"`) })
	return all
}

func TestFastPath(t *testing.T) {
	m := newTestMonitor(t, MonitorOptions{})
	err := m.FastPath(func() map[string]uint64 { return map[string]uint64{"hit": 5, "unknown": 2} }, func() int { return 9 })
	if err != nil {
		t.Fatal(err)
	}
	all, err := m.Snapshot()
	if err != nil || all[`stateful_route_fast_path_requests_total{result="hit"}`] != 5 || all["stateful_route_fast_path_bindings"] != 9 {
		t.Errorf("%v, %v", err, all)
	}
}
