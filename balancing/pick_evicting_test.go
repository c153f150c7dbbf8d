package balancing_test

import (
	"errors"
	"fmt"
	"runtime"
	"testing"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing"
)

func TestPickInstead(t *testing.T) {
	pods := makePods(5)
	pods[0].State = statefulroute.Draining
	b := newBalancer(t, balancing.Options{Strategy: "round_robin", MaxSessions: 10, MaxConnections: 1}, pods)
	for i := range pods {
		b.SetSessions(fmt.Sprint("pod-", i), 10)
	}
	if _, err := b.Start(t0, "pod-1"); err != nil { // it has no room for a request
		t.Fatal(err)
	}
	asked := map[string]int{}
	none := func(pod string) bool { asked[pod]++; return false }
	if _, ok := b.PickEvicting(t0, "k", none); ok || fmt.Sprint(asked) != "map[pod-2:1 pod-3:1 pod-4:1]" {
		t.Errorf("picked %v although nobody gives up a session, asked %v", ok, asked)
	}
	result, ok := b.PickEvicting(t0, "k", func(pod string) bool { return pod == "pod-3" })
	if !ok || result.Pod() != "pod-3" {
		t.Fatalf("picked %q, %v", result.Pod(), ok)
	}
	for pod, l := range b.Loads() {
		want := map[string]int64{"pod-3": 9}[pod]
		if want == 0 {
			want = 10
		}
		if flying := map[string]int64{"pod-1": 1, "pod-3": 1}[pod]; l.Sessions != want || l.InFlight != flying {
			t.Errorf("%s: %d sessions, %d in flight, want %d and %d", pod, l.Sessions, l.InFlight, want, flying)
		}
	}
	if total := b.Stats().TotalRequests; total != 2 {
		t.Errorf("%d requests counted, want 2", total)
	}
	// A pod that has more than it may have comes back to it, one by one.
	result.Cancel()
	b.SetSessions("pod-3", 13)
	evicted := 0
	if _, ok := b.PickEvicting(t0, "k", func(pod string) bool { evicted++; return pod == "pod-3" }); !ok || evicted < 2 {
		t.Errorf("picked %v, %d evicted", ok, evicted)
	}
}

// The choice falls on the key's home, so that keys that were made up spread over the
// pods by their weights.
func TestPickInsteadSpreadsByWeight(t *testing.T) {
	pods := makePods(4)
	pods[3].Weight = 3
	b := newBalancer(t, balancing.Options{Strategy: "round_robin", MaxSessions: 10}, pods)
	picked := map[string]int{}
	for i := range 6000 {
		for _, p := range pods {
			b.SetSessions(p.Name, 10)
		}
		result, ok := b.PickEvicting(t0, fmt.Sprint("key-", i), func(string) bool { return true })
		if !ok {
			t.Fatal("none picked")
		}
		picked[result.Pod()]++
		result.Cancel()
	}
	for i, p := range pods {
		if want := 1000 * int(p.Weight); picked[p.Name] < want*9/10 || picked[p.Name] > want*11/10 {
			t.Errorf("pod %d: %d, want about %d", i, picked[p.Name], want)
		}
	}
}

func TestPickInsteadIsForMaxSessions(t *testing.T) {
	b := newBalancer(t, balancing.Options{Strategy: "round_robin", MaxConnections: 1}, makePods(2))
	for range 2 {
		if _, err := b.Pick(t0, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := b.PickEvicting(t0, "k", func(string) bool { return true }); ok {
		t.Error("picked without a cap of sessions")
	}
	if _, err := b.Pick(t0, "k"); !errors.Is(err, balancing.ErrNoPods) {
		t.Errorf("Pick: %v", err)
	}
}

// A refusal costs the same however many pods a service has: its message shows few.
func TestARefusalCostsLittle(t *testing.T) {
	const most = 4096
	for _, n := range []int{10, 10_000} {
		b := newBalancer(t, balancing.Options{Strategy: "least_response_time", MaxSessions: 1}, makePods(n))
		for i := range n {
			b.SetSessions(fmt.Sprint("pod-", i), 1)
		}
		if _, err := b.Pick(t0, "k"); err == nil { // what is made once
			t.Fatal("picked")
		}
		const picks = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range picks {
			if _, err := b.Pick(t0, "k"); err == nil || err.Error() == "" {
				t.Fatal("picked")
			}
		}
		runtime.ReadMemStats(&after)
		if per := (after.TotalAlloc - before.TotalAlloc) / picks; per > most {
			t.Errorf("%d pods: %d B a refusal, want at most %d", n, per, most)
		}
	}
}
