package balancing_test

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stateful-route/stateful-route/balancing"
)

func TestSmoothWeightedRoundRobinIsNginxs(t *testing.T) {
	b := newBalancer(t, balancing.Options{Strategy: "weighted_round_robin"}, makePods(3, 5, 1, 1))
	var got strings.Builder
	for range 14 {
		got.WriteByte('a' + mustPick(t, b, t0, "").Pod()[4] - '0')
	}
	if want := "aabacaaaabacaa"; got.String() != want {
		t.Errorf("sequence %s, want %s", got.String(), want)
	}
}

func TestWeightedRoundRobinIsExactOverACycle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint32Range(1, 60), 1, 20).Draw(rt, "weights")
		var cycle int
		for _, w := range weights {
			cycle += int(w)
		}
		b := newBalancer(t, balancing.Options{
			Strategy: "weighted_round_robin", Seed: rapid.Uint64().Draw(rt, "seed"),
		}, makePods(len(weights), weights...))
		seen := map[string]uint32{}
		for range cycle {
			seen[mustPick(t, b, t0, "").Pod()]++
		}
		for i, w := range weights {
			if seen[podName(i)] != w {
				rt.Fatalf("%s picked %d times in a cycle, weight %d", podName(i), seen[podName(i)], w)
			}
		}
	})
}

// The same sequence as the plain definition gives, whatever the weights.
func TestWeightedRoundRobinTakesTheTurnsOfItsDefinition(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		// Few different weights among many pods are taken another way than many.
		most := rapid.Uint32Range(1, 9).Draw(rt, "most")
		pods := rapid.IntRange(1, 60).Draw(rt, "pods")
		weights := rapid.SliceOfN(rapid.Uint32Range(1, most), pods, pods).Draw(rt, "weights")
		b := newBalancer(t, balancing.Options{Strategy: "weighted_round_robin"}, makePods(len(weights), weights...))
		score, sum := make([]int, len(weights)), 0
		for _, w := range weights {
			sum += int(w)
		}
		for turn := range 600 { // over two blocks
			best := 0
			for i, w := range weights {
				if score[i] += int(w); score[i] > score[best] {
					best = i
				}
			}
			score[best] -= sum
			if got := mustPick(t, b, t0, "").Pod(); got != podName(best) {
				rt.Fatalf("turn %d is %s's, want %s", turn, got, podName(best))
			}
		}
	})
}

// However many pick at once, no turn is taken twice and none is left out.
func TestWeightedRoundRobinIsExactUnderConcurrency(t *testing.T) {
	const pods, cycles = 300, 40
	weights := make([]uint32, pods)
	cycle := 0
	for i := range weights {
		weights[i] = uint32(1 + i%3)
		cycle += 1 + i%3
	}
	b := newBalancer(t, balancing.Options{Strategy: "weighted_round_robin"}, makePods(pods, weights...))
	var left atomic.Int64
	left.Store(int64(cycles * cycle))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := b.Pick(t0, ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i, w := range weights {
		if got := loadOf(t, b, podName(i)).InFlight; got != cycles*int64(w) {
			t.Errorf("%s of weight %d was picked %d times in %d cycles", podName(i), w, got, cycles)
		}
	}
}

// Weights that change every few picks must not favour the pods listed first.
func TestWeightedRoundRobinGoesOnOverNewSnapshots(t *testing.T) {
	b := newBalancer(t, balancing.Options{Strategy: "weighted_round_robin"}, makePods(10))
	seen := map[string]int{}
	for range 100 {
		seen[mustPick(t, b, t0, "").Pod()]++
		b.SetPods(t0, makePods(10))
	}
	for i := range 10 {
		if seen[podName(i)] != 10 {
			t.Errorf("%s picked %d times of 100, want 10", podName(i), seen[podName(i)])
		}
	}
}

func TestRoundRobinTakesTurns(t *testing.T) {
	b := newBalancer(t, balancing.Options{Strategy: "round_robin"}, makePods(4))
	seen := map[string]int{}
	for range 400 {
		seen[mustPick(t, b, t0, "").Pod()]++
	}
	for i := range 4 {
		if seen[podName(i)] != 100 {
			t.Errorf("%s picked %d times, want 100", podName(i), seen[podName(i)])
		}
	}
}

func TestLeastConnectionsTakesTheLeastBusyByWeight(t *testing.T) {
	b := newBalancer(t, balancing.Options{Strategy: "least_connections"}, makePods(3, 1, 2, 4))
	for range 70 {
		mustPick(t, b, t0, "")
	}
	for i, want := range []int64{10, 20, 40} {
		if got := loadOf(t, b, podName(i)).InFlight; got < want-1 || got > want+1 {
			t.Errorf("%s has %d in flight, want about %d", podName(i), got, want)
		}
	}
}

// feed gives each pod one response of its own time.
func feed(t *testing.T, b *balancing.Balancer, now time.Time, times ...time.Duration) {
	t.Helper()
	for i, took := range times {
		result, err := b.Start(now, podName(i))
		if err != nil {
			t.Fatal(err)
		}
		result.Done(now, balancing.Outcome{Kind: balancing.Success, ResponseTime: took})
	}
}

func TestLeastResponseTimeWeighsTimeAgainstInFlight(t *testing.T) {
	b := newBalancer(t, balancing.Options{Strategy: "least_response_time"}, makePods(2))
	feed(t, b, t0, 10*time.Millisecond, 40*time.Millisecond)
	for range 4 { // (3+1) × 10 is not above (0+1) × 40 yet
		mustPick(t, b, t0, "")
	}
	if n := loadOf(t, b, "pod-0").InFlight; n < 3 {
		t.Errorf("the fast pod got %d of 4", n)
	}
	for range 6 {
		mustPick(t, b, t0, "")
	}
	if n := loadOf(t, b, "pod-1").InFlight; n != 2 {
		t.Errorf("the slow pod got %d of 10, want 2", n)
	}
}

// The strategies that know errors send a pod that fails at once hardly anything,
// though it is never busy and answers fastest.
func TestAFastFailingPodIsAvoided(t *testing.T) {
	for _, name := range []string{"least_connections", "least_response_time", "peak_ewma", "prequal_hcl", "home_hcl"} {
		t.Run(name, func(t *testing.T) {
			b := newBalancer(t, balancing.Options{Strategy: name, Repeatable: true}, makePods(5))
			now, failed := t0, 0
			var open []balancing.PickResult
			for i := range 5000 {
				now = now.Add(time.Millisecond)
				result := mustPick(t, b, now, strconv.Itoa(i))
				if result.Pod() == "pod-3" {
					failed++
					result.Done(now, balancing.Outcome{Kind: balancing.Failure, ResponseTime: 100 * time.Microsecond})
					continue
				}
				if open = append(open, result); len(open) > 8 {
					open[0].Done(now, balancing.Outcome{Kind: balancing.Success, ResponseTime: 8 * time.Millisecond})
					open = open[1:]
				}
			}
			if failed == 0 || failed > 100 {
				t.Errorf("the failing pod got %d of 5000 requests, want a few", failed)
			}
		})
	}
}

// A pod that failed for ten seconds has its share back within ten more: what faded
// of its error rate is gone, and one good answer is believed. (prequal_hcl is left
// out: it takes the fastest pod while that is cold, so that there is no fair share.)
func TestAPodThatFailedGetsItsShareBack(t *testing.T) {
	for _, name := range []string{"least_connections", "least_response_time", "peak_ewma", "home_hcl"} {
		t.Run(name, func(t *testing.T) {
			b := newBalancer(t, balancing.Options{Strategy: name, Repeatable: true}, makePods(3))
			var open []balancing.PickResult
			now, share := t0, 0
			for i := range 200 * 30 { // 200 requests a second of about 20 ms each
				now = now.Add(5 * time.Millisecond)
				if len(open) == 4 {
					o := balancing.Outcome{Kind: balancing.Success, ResponseTime: time.Duration(15+i*7%11) * time.Millisecond}
					if open[0].Pod() == "pod-1" && now.Sub(t0) < 10*time.Second {
						o.Kind = balancing.Failure
					}
					open[0].Done(now, o)
					open = open[1:]
				}
				result := mustPick(t, b, now, strconv.Itoa(i))
				open = append(open, result)
				if result.Pod() == "pod-1" && now.Sub(t0) >= 20*time.Second {
					share++
				}
			}
			if share < 200*10/4 {
				t.Errorf("the pod that recovered gets %d of 2,000 requests", share)
			}
		})
	}
}

// A pod that was slow is tried again, and used again once it is fast.
func TestASlowPodIsForgiven(t *testing.T) {
	for _, name := range []string{"least_response_time", "peak_ewma", "prequal_hcl"} {
		t.Run(name, func(t *testing.T) {
			b := newBalancer(t, balancing.Options{Strategy: name, Repeatable: true}, makePods(3))
			feed(t, b, t0, 10*time.Millisecond, 10*time.Millisecond, time.Second)
			now, recovered := t0, 0
			for i := range 20_000 {
				now = now.Add(30 * time.Millisecond)
				result := mustPick(t, b, now, "")
				took := time.Duration(5+i*7%11) * time.Millisecond
				result.Done(now, balancing.Outcome{Kind: balancing.Success, ResponseTime: took})
				if result.Pod() == "pod-2" {
					recovered++
				}
			}
			if recovered < 150 {
				t.Errorf("the recovered pod got %d of 20,000 requests", recovered)
			}
		})
	}
}

// A pod that hangs is left before it has answered anything.
func TestAPodThatDoesNotAnswerIsLeft(t *testing.T) {
	b := newBalancer(t, balancing.Options{Strategy: "least_response_time", Repeatable: true}, makePods(4))
	feed(t, b, t0, 10*time.Millisecond, 10*time.Millisecond, 10*time.Millisecond, 10*time.Millisecond)
	hung, now := 0, t0
	for range 10_000 {
		now = now.Add(10 * time.Millisecond)
		result := mustPick(t, b, now, "")
		if result.Pod() == "pod-1" {
			hung++
			continue
		}
		result.Done(now, balancing.Outcome{Kind: balancing.Success, ResponseTime: 10 * time.Millisecond})
	}
	if hung == 0 || hung > 20 {
		t.Errorf("the pod that does not answer got %d of 10,000 requests, want a few", hung)
	}
}

func TestHomeIsWeightedAndStable(t *testing.T) {
	weights := []uint32{1, 2, 3, 4}
	b := newBalancer(t, balancing.Options{Strategy: "home_hcl"}, makePods(4, weights...))
	without := newBalancer(t, balancing.Options{Strategy: "home_hcl"}, makePods(4, weights...)[:3])
	const keys = 30_000
	seen := map[string]int{}
	for i := range keys {
		key := fmt.Sprint("session-", i)
		home, _ := b.Home(key)
		seen[home]++
		if other, _ := without.Home(key); home != "pod-3" && other != home {
			t.Fatalf("key %s moved from %s to %s when pod-3 left", key, home, other)
		}
	}
	for i, w := range weights {
		want := float64(keys) * float64(w) / 10
		if got := float64(seen[podName(i)]); math.Abs(got-want) > 5*math.Sqrt(want) {
			t.Errorf("%s is home of %v keys, want about %v", podName(i), got, want)
		}
	}
}

func TestHomesOfEqualWeightsAgreeWithTheGeneralRule(t *testing.T) {
	even := newBalancer(t, balancing.Options{Strategy: "home_hcl"}, makePods(7))
	near := newBalancer(t, balancing.Options{Strategy: "home_hcl"}, makePods(7, 4e9, 4e9, 4e9, 4e9, 4e9, 4e9, 4e9-1))
	for i := range 10_000 {
		a, _ := even.Home(strconv.Itoa(i))
		if b, _ := near.Home(strconv.Itoa(i)); a != b {
			t.Fatalf("key %d: home %s, and %s by the rule for unequal weights", i, a, b)
		}
	}
}

// Among many pods the way out looks at a few: it must still reach all, pass over the
// full ones, and leave a slow one alone.
func TestHomeHCLOverflowsEvenlyAmongManyPods(t *testing.T) {
	const pods = 300
	b := newBalancer(t, balancing.Options{Strategy: "home_hcl", MaxSessions: 5, Repeatable: true}, makePods(pods))
	times := make([]time.Duration, pods)
	for i := range times {
		times[i] = 10 * time.Millisecond
	}
	times[7] = 200 * time.Millisecond
	feed(t, b, t0, times...)
	home, _ := b.Home("hot key")
	for i := range pods / 2 {
		b.SetSessions(podName(2*i), 5)
	}
	b.SetSessions(home, 5)
	seen := map[string]int{}
	for range 3000 {
		seen[mustPick(t, b, t0, "hot key").Pod()]++
	}
	for i := range pods {
		got := seen[podName(i)]
		switch {
		case podName(i) == home || i%2 == 0:
			if got > 0 {
				t.Errorf("%s is full and was picked %d times", podName(i), got)
			}
		case i == 7:
			if got > 5 {
				t.Errorf("the slow pod was picked %d times", got)
			}
		case got < 10 || got > 30:
			t.Errorf("%s was picked %d times of 3000, want about 20", podName(i), got)
		}
	}
}

func TestHomeHCLUsesTheHomeUntilItIsBusy(t *testing.T) {
	b := newBalancer(t, balancing.Options{Strategy: "home_hcl", Repeatable: true}, makePods(10))
	home, _ := b.Home("hot key")
	away := 0
	for range 100 {
		if mustPick(t, b, t0, "hot key").Pod() != home {
			away++
		}
	}
	if got := loadOf(t, b, home).InFlight; got < 2 || got > 25 || away == 0 {
		t.Errorf("home has %d of 100 in flight, %d went away", got, away)
	}
}

func TestPicksAllocateNothing(t *testing.T) {
	for _, name := range []string{"prequal_hcl", "peak_ewma", "home_hcl", "least_response_time", "least_connections", "round_robin"} {
		b := newBalancer(t, balancing.Options{Strategy: name}, makePods(1000))
		now := t0
		if raceEnabled {
			t.Skip("sync.Pool drops at random under the race detector")
		}
		got := testing.AllocsPerRun(2000, func() {
			now = now.Add(time.Millisecond)
			result, _ := b.Pick(now, "session")
			result.Done(now, balancing.Outcome{Kind: balancing.Success, ResponseTime: time.Millisecond})
		})
		if got != 0 {
			t.Errorf("%s: %v allocations per pick", name, got)
		}
	}
}

func TestRepeatablePicksRepeat(t *testing.T) {
	run := func(seed uint64) string {
		b := newBalancer(t, balancing.Options{Strategy: "prequal_hcl", Seed: seed, Repeatable: true}, makePods(20))
		var out strings.Builder
		for range 200 {
			out.WriteString(mustPick(t, b, t0, "").Pod())
		}
		return out.String()
	}
	if first := run(1); first != run(1) {
		t.Error("the same seed gave different picks")
	}
	if run(1) == run(2) {
		t.Error("different seeds gave the same picks")
	}
}

// A pod that joins late gets a share that grows over the slow start.
func TestSlowStart(t *testing.T) {
	share := func(after time.Duration) int64 {
		b := newBalancer(t, balancing.Options{Strategy: "least_connections", SlowStart: 10 * time.Second}, makePods(4))
		b.SetPods(t0, makePods(5))
		for range 400 {
			mustPick(t, b, t0.Add(after), "")
		}
		return loadOf(t, b, "pod-4").InFlight
	}
	if at0, at5, at10 := share(0), share(5*time.Second), share(10*time.Second); at0 > 15 || at5 < 40 || at5 > 60 || at10 != 80 {
		t.Errorf("the joining pod got %d, %d, %d of 400 at 0, 5, 10 s; want about 10, 48, 80", at0, at5, at10)
	}
}
