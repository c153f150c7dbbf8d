package slowstart_test

import (
	"net/netip"
	"strconv"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/balancing/weight"
)

// rejoinings are ways in which pod-2 of three comes to take its share, long after
// all began.
var rejoinings = []struct {
	name  string
	via   []statefulroute.PodState // what it is before it is ready
	moves bool                     // to another address meanwhile
	slow  bool
}{
	{"drained", []statefulroute.PodState{statefulroute.Draining}, false, false},
	{"drained and replaced", []statefulroute.PodState{statefulroute.Draining}, true, true},
	{"unhealthy", []statefulroute.PodState{statefulroute.Unhealthy}, false, true},
	{"unhealthy while drained", []statefulroute.PodState{statefulroute.Draining, statefulroute.Unhealthy}, false, true},
	{"drained while unhealthy", []statefulroute.PodState{statefulroute.Unhealthy, statefulroute.Draining}, false, true},
	{"taken out", []statefulroute.PodState{statefulroute.Maintenance}, false, true},
	{"replaced", nil, true, true},
}

// rejoin feeds set with the pods as they change, and returns when pod-2 is ready
// again.
func rejoin(set func(time.Time, []statefulroute.Pod), via []statefulroute.PodState, moves bool) time.Time {
	now, pods := time.Unix(1_000_000, 0), make([]statefulroute.Pod, 3)
	for i := range pods {
		pods[i] = statefulroute.Pod{Name: "pod-" + strconv.Itoa(i), Weight: 1}
		pods[i].Address = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 80)
	}
	set(now, pods)
	for _, state := range via {
		now = now.Add(time.Hour)
		pods[2].State = state
		set(now, pods)
	}
	if len(via) == 0 {
		now = now.Add(time.Hour)
	}
	pods[2].State = statefulroute.Ready
	if moves {
		pods[2].Address = netip.MustParseAddrPort("10.0.0.9:80")
	}
	set(now, pods)
	return now
}

// A pod that was only drained never stopped serving: it has its full share at once.
func TestWhoStartsSlowlyInTheWeights(t *testing.T) {
	for _, c := range rejoinings {
		t.Run(c.name, func(t *testing.T) {
			w := weight.New(weight.Options{SlowStart: time.Minute})
			now := rejoin(func(now time.Time, pods []statefulroute.Pod) {
				w.SetPods(now, pods)
				w.Next(now)
			}, c.via, c.moves)
			weights, _ := w.Next(now)
			if slow := 5*weights["pod-2"] < weights["pod-0"]; slow != c.slow {
				t.Errorf("weights %v, want a slow start: %v", weights, c.slow)
			}
			weights, _ = w.Next(now.Add(time.Minute))
			if weights["pod-2"] != weights["pod-0"] {
				t.Errorf("a slow start later: weights %v", weights)
			}
		})
	}
}

func TestWhoStartsSlowlyInTheBalancer(t *testing.T) {
	for _, c := range rejoinings {
		t.Run(c.name, func(t *testing.T) {
			b, err := balancing.New(balancing.Options{Strategy: "least_connections", SlowStart: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			now := rejoin(b.SetPods, c.via, c.moves)
			if err := b.Update(now, balancing.Options{Strategy: "least_connections", SlowStart: time.Minute}); err != nil {
				t.Fatal(err) // what else changes is no start
			}
			for range 300 {
				if _, err := b.Pick(now, ""); err != nil {
					t.Fatal(err)
				}
			}
			if got := b.Loads()["pod-2"].InFlight; got < 50 != c.slow {
				t.Errorf("it got %d of 300, want a slow start: %v", got, c.slow)
			}
		})
	}
}
