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
			owners := s.Load(harness.Keys(200), 10, 32, source.put).Owners(t)
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

// A table with too few places loses the records of sessions, not their pods. Round
// robin would give four of five sessions another one.
func TestSessionsSurviveATableThatIsTooSmall(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{Services: []harness.Service{roundRobin(5)}, Affinity: map[string]any{"capacity": 100}})
	keys := harness.Keys(150)
	first := s.Load(keys, 2, 1, harness.InHeader).Owners(t)
	again := s.Load(keys, 3, 8, harness.InHeader).Owners(t)
	for key, pod := range first {
		if again[key] != pod {
			t.Errorf("session %s was on %s and is on %s", key, pod, again[key])
		}
	}
	var stats struct {
		Cache struct{ Size, Evicted, Recalls, Broken int }
	}
	if err := harness.JSON(s.ExtprocAdmin+"/api/v1/stats", &stats); err != nil {
		t.Fatal(err)
	}
	if got, err := harness.Metric(s.ExtprocAdmin+"/metrics", "stateful_route_cache_recalls_total"); err != nil || got != float64(stats.Cache.Recalls) {
		t.Errorf("the metric says %v recalls, the table %d; %v", got, stats.Cache.Recalls, err)
	}
	if c := stats.Cache; len(first) != 150 || c.Size != 100 || c.Evicted < 50 || c.Recalls < 50 || c.Broken != 0 {
		t.Errorf("%d sessions were served, the table says %+v", len(first), c)
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

// Requests without a key go by the weights in force: those of the configuration,
// and what the load makes of them where the strategy looks at it. Such a strategy
// also looks at requests in flight, so its weights show in the shares of a client
// that asks one thing after the other.
func TestUnboundRequestsFollowTheWeights(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		strategy    string
		concurrency int
		steered     bool
	}{{"round_robin", 8, false}, {"weighted_round_robin", 8, false}, {"home_hcl", 1, true}} {
		t.Run(c.strategy, func(t *testing.T) {
			t.Parallel()
			svc := harness.Chat(3)
			svc.Balancing = map[string]any{"strategy": c.strategy}
			for i, weight := range []uint32{1, 2, 7} {
				svc.Pods.Static[i].Weight = weight
			}
			s := start(t, harness.Options{Services: []harness.Service{svc}})
			const blocks, perBlock = 50, 60
			want, got := map[string]float64{}, map[string]float64{}
			for block := range blocks {
				shares := weightShares(t, s)
				if configured := map[string]float64{"chat-0": 10, "chat-1": 20, "chat-2": 70}; (block == 0 || !c.steered) && !maps.Equal(shares, configured) {
					t.Fatalf("the weights in force are %v, configured are %v", shares, configured)
				}
				tally := s.LoadUnbound(perBlock, c.concurrency)
				if f := tally.Failures(); len(f) > 0 {
					t.Fatalf("%d requests failed; the first: %s", len(f), f[0])
				}
				byPod := tally.ByPod()
				for pod, share := range shares {
					want[pod] += share / blocks
					got[pod] += float64(byPod[pod]) * 100 / (blocks * perBlock)
				}
			}
			for pod := range want {
				if math.Abs(got[pod]-want[pod]) > 3 {
					t.Errorf("%s got %.1f %% of the requests, want %.1f ± 3", pod, got[pod], want[pod])
				}
			}
		})
	}
}

// weightShares is each pod's part of the weights in force, in percent.
func weightShares(t *testing.T, s *harness.Stack) map[string]float64 {
	t.Helper()
	var pods []struct {
		Name   string  `json:"name"`
		Weight float64 `json:"weight"`
	}
	if err := harness.JSON(s.XDSAdmin+"/api/v1/services/chat/pods", &pods); err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, p := range pods {
		sum += p.Weight
	}
	shares := map[string]float64{}
	for _, p := range pods {
		shares[p.Name] = p.Weight * 100 / sum
	}
	return shares
}
