package e2e

import (
	"fmt"
	"maps"
	"math"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

var sources = []struct {
	name string
	put  func(key string) harness.Edit
}{
	{"header", harness.InHeader}, {"cookie", harness.InCookie}, {"query", harness.InQuery}, {"path", harness.InPath},
}

func TestSessionsStayOnTheirPod(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{})
	for _, source := range sources {
		t.Run(source.name, func(t *testing.T) {
			owners := s.Load(harness.Keys(200), 50, 32, source.put).Owners(t)
			if len(owners) != 200 {
				t.Errorf("%d sessions were served, want 200", len(owners))
			}
			for _, pod := range []string{"chat-0", "chat-1", "chat-2"} {
				// A fair share is 67; a pod with fewer than 20 is being left out.
				if n := len(harness.On(owners, pod)); n < 20 {
					t.Errorf("%s got %d of 200 sessions", pod, n)
				}
			}
		})
	}
}

// The same key is the same session wherever it is, and the sources have an order.
func TestKeySourcesAreOneSession(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{Services: []harness.Service{harness.Chat(5)}})
	for _, key := range harness.Keys(20) {
		var first string
		for _, source := range sources {
			a, err := s.OK(source.put(key))
			if err != nil {
				t.Fatal(err)
			}
			if first == "" {
				first = a.Pod
			}
			if a.Pod != first {
				t.Errorf("%s in the %s is on %s, before on %s", key, source.name, a.Pod, first)
			}
		}
		a, err := s.OK(harness.InHeader(key), harness.InCookie("other"), harness.InQuery("another"))
		if err != nil || a.Pod != first {
			t.Errorf("the header did not win: on %s, %v; want %s", a.Pod, err, first)
		}
	}
}

// Round robin chooses another pod for every request, so that only the claim can
// make simultaneous first requests agree.
func TestFirstRequestsAtOnceAgree(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{Services: []harness.Service{roundRobin(3)}})
	// The pods answer late, so that a binding made with the answer would be too late.
	for name := range s.Pods {
		s.Misbehave(t, name, `{"delay":"5ms"}`)
	}
	for _, c := range []struct{ sessions, atOnce int }{{500, 2}, {100, 20}} {
		t.Run(fmt.Sprintf("%d requests", c.atOnce), func(t *testing.T) {
			keys := harness.Keys(c.sessions)
			firsts := make([]*harness.Tally, c.sessions)
			harness.Each(c.sessions, 4, func(i int) { firsts[i] = s.AtOnce(keys[i], c.atOnce) })
			// What each session's first requests saw is where it stays.
			began := map[string]string{}
			for _, first := range firsts {
				maps.Copy(began, first.Owners(t))
			}
			harness.SameOwners(t, began, s.Load(keys, 2, 32, harness.InHeader).Owners(t))
		})
	}
}

// Strategies that look at requests in flight leave the weights as the load makes
// them, so theirs is the case of a client that asks one thing after the other.
func TestUnboundRequestsFollowTheWeights(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		strategy    string
		concurrency int
	}{{"home_hcl", 1}, {"weighted_round_robin", 8}, {"round_robin", 8}} {
		t.Run(c.strategy, func(t *testing.T) {
			t.Parallel()
			svc := harness.Chat(3)
			svc.Balancing = map[string]any{"strategy": c.strategy}
			for i, weight := range []uint32{1, 2, 7} {
				svc.Pods.Static[i].Weight = weight
			}
			s := start(t, harness.Options{Services: []harness.Service{svc}})
			// Pods that answer in no time differ by noise alone, and weights that
			// follow the load would follow that.
			for _, pod := range svc.Pods.Static {
				s.Misbehave(t, pod.Name, `{"delay":"2ms"}`)
			}
			const n = 5000
			tally := s.LoadUnbound(n, c.concurrency)
			if f := tally.Failures(); len(f) > 0 {
				t.Errorf("%d requests failed; the first: %s", len(f), f[0])
			}
			byPod := tally.ByPod()
			for pod, want := range map[string]float64{"chat-0": 10, "chat-1": 20, "chat-2": 70} {
				if got := float64(byPod[pod]) * 100 / n; math.Abs(got-want) > 3 {
					t.Errorf("%s got %.1f %% of the requests, want %.0f ± 3", pod, got, want)
				}
			}
		})
	}
}
