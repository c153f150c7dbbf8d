package balancing_test

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing"
)

func TestNewRefusesAnUnknownStrategyAndListsTheKnown(t *testing.T) {
	_, err := balancing.New(balancing.Options{Strategy: "magic"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range append(balancing.NewRegistry().Names(), `"magic"`) {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not name %s", err, want)
		}
	}
}

func TestNewRefusesNegativeDurations(t *testing.T) {
	for _, opts := range []balancing.Options{
		{Strategy: "round_robin", SlowStart: -1},
		{Strategy: "round_robin", ResponseTimeWindow: -1},
	} {
		if _, err := balancing.New(opts); err == nil {
			t.Errorf("New(%+v) = nil error", opts)
		}
	}
}

func TestNoPodsErrorGivesAReasonForEachPod(t *testing.T) {
	pods := makePods(5)
	pods[0].State = statefulroute.Draining
	pods[1].State = statefulroute.Maintenance
	pods[2].State = statefulroute.Unhealthy
	b := newBalancer(t, balancing.Options{Strategy: "prequal_hcl", MaxConnections: 1, MaxSessions: 2}, pods)
	b.SetSessions("pod-3", 2)
	if _, err := b.Start(t0, "pod-4"); err != nil {
		t.Fatal(err)
	}
	_, err := b.Pick(t0, "k")
	var none *balancing.NoPodsError
	if !errors.As(err, &none) || !errors.Is(err, balancing.ErrNoPods) {
		t.Fatalf("Pick error = %v, want a *NoPodsError", err)
	}
	want := []balancing.LeftOut{
		{Pod: "pod-0", Reason: "draining"}, {Pod: "pod-1", Reason: "maintenance"}, {Pod: "pod-2", Reason: "unhealthy"},
		{Pod: "pod-3", Reason: "max_sessions reached"}, {Pod: "pod-4", Reason: "max_connections reached"},
	}
	if fmt.Sprint(none.LeftOut) != fmt.Sprint(want) {
		t.Errorf("left out %v, want %v", none.LeftOut, want)
	}
	if got := err.Error(); !strings.HasPrefix(got, "no healthy pods available: pod-0: draining, ") {
		t.Errorf("error text %q", got)
	}
}

func TestNoPodsErrorOfAnEmptyService(t *testing.T) {
	b, err := balancing.New(balancing.Options{Strategy: "home_hcl"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Pick(t0, "k"); !errors.Is(err, balancing.ErrNoPods) {
		t.Errorf("Pick error = %v, want ErrNoPods", err)
	}
	if pod, ok := b.Home("k"); ok {
		t.Errorf("Home = %q of no pods", pod)
	}
}

func TestNoPodsErrorStaysShortWithManyPods(t *testing.T) {
	pods := makePods(1000)
	for i := range pods {
		pods[i].State = statefulroute.Draining
	}
	_, err := newBalancer(t, balancing.Options{Strategy: "round_robin"}, pods).Pick(t0, "")
	if err == nil || !strings.HasSuffix(err.Error(), "and 992 more") {
		t.Errorf("error = %v", err)
	}
}

// Every strategy reaches every pod with room and never one without.
func TestStrategiesCoverEveryEligiblePod(t *testing.T) {
	for _, name := range balancing.NewRegistry().Names() {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				n := rapid.IntRange(1, 15).Draw(rt, "pods")
				pods := makePods(n)
				eligible := 0
				full := map[string]bool{}
				for i := range pods {
					pods[i].Weight = rapid.Uint32Range(1, 4).Draw(rt, "weight")
					pods[i].State = rapid.SampledFrom([]statefulroute.PodState{
						statefulroute.Ready, statefulroute.Ready, statefulroute.Draining, statefulroute.Unhealthy,
					}).Draw(rt, "state")
					if rapid.IntRange(0, 3).Draw(rt, "full") == 0 {
						full[pods[i].Name] = true
					}
					if pods[i].State.TakesNew() && !full[pods[i].Name] {
						eligible++
					}
				}
				b := newBalancer(t, balancing.Options{
					Strategy: name, MaxSessions: 5, Seed: rapid.Uint64().Draw(rt, "seed"), Repeatable: true,
				}, pods)
				for pod := range full {
					b.SetSessions(pod, 5)
				}
				seen := map[string]int{}
				var open []balancing.PickResult
				for i := range 40 * n {
					now := t0.Add(time.Duration(i) * time.Millisecond)
					result, err := b.Pick(now, fmt.Sprint("key", i))
					if eligible == 0 {
						if !errors.Is(err, balancing.ErrNoPods) {
							rt.Fatalf("error %v, want ErrNoPods", err)
						}
						return
					}
					if err != nil {
						rt.Fatal(err)
					}
					seen[result.Pod()]++
					if open = append(open, result); len(open) > 5*n {
						open[0].Done(now, balancing.Outcome{Kind: balancing.Success, ResponseTime: time.Millisecond})
						open = open[1:]
					}
				}
				if len(seen) != eligible {
					rt.Fatalf("picked %d pods of %d eligible: %v", len(seen), eligible, seen)
				}
				for _, p := range pods {
					if seen[p.Name] > 0 && (full[p.Name] || !p.State.TakesNew()) {
						rt.Fatalf("picked %s, which is %v, full %v", p.Name, p.State, full[p.Name])
					}
				}
			})
		})
	}
}

// The cap holds under concurrent picks, and every place under it is used.
func TestMaxConnectionsHoldsUnderConcurrency(t *testing.T) {
	for _, name := range balancing.NewRegistry().Names() {
		t.Run(name, func(t *testing.T) {
			const pods, limit, tries = 7, 5, 100
			b := newBalancer(t, balancing.Options{Strategy: name, MaxConnections: limit}, makePods(pods))
			var wg sync.WaitGroup
			var mu sync.Mutex
			got := 0
			for i := range tries {
				wg.Go(func() {
					if _, err := b.Pick(t0, strconv.Itoa(i)); err == nil {
						mu.Lock()
						got++
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			if got != pods*limit {
				t.Errorf("%d picks succeeded, want %d", got, pods*limit)
			}
			for pod, l := range b.Loads() {
				if l.InFlight != limit {
					t.Errorf("%s has %d in flight, want %d", pod, l.InFlight, limit)
				}
			}
		})
	}
}

func TestASecondDoneIsHarmless(t *testing.T) {
	b := newBalancer(t, balancing.Options{Strategy: "round_robin"}, makePods(1))
	first := mustPick(t, b, t0, "")
	copied := first
	second := mustPick(t, b, t0, "")
	first.Done(t0, balancing.Outcome{Kind: balancing.Success})
	copied.Done(t0, balancing.Outcome{Kind: balancing.Failure})
	third := mustPick(t, b, t0, "") // may reuse what first used
	first.Done(t0, balancing.Outcome{Kind: balancing.Failure})
	if got := loadOf(t, b, "pod-0").InFlight; got != 2 {
		t.Errorf("in flight = %d, want 2", got)
	}
	second.Done(t0, balancing.Outcome{Kind: balancing.Success})
	third.Done(t0, balancing.Outcome{Kind: balancing.Success})
	if got := loadOf(t, b, "pod-0").InFlight; got != 0 {
		t.Errorf("in flight = %d, want 0", got)
	}
	if s := b.Stats(); s.Successful != 3 || s.Failed != 0 {
		t.Errorf("stats = %+v, want 3 successes", s)
	}
	balancing.PickResult{}.Done(t0, balancing.Outcome{})
}

func TestStartCountsAndRefusesAnUnknownPod(t *testing.T) {
	pods := makePods(2)
	pods[1].State = statefulroute.Draining
	b := newBalancer(t, balancing.Options{Strategy: "least_connections", MaxConnections: 1}, pods)
	for range 3 { // a bound request goes whatever the cap and the drain
		if _, err := b.Start(t0, "pod-1"); err != nil {
			t.Fatal(err)
		}
	}
	if got := loadOf(t, b, "pod-1").InFlight; got != 3 {
		t.Errorf("in flight = %d, want 3", got)
	}
	if _, err := b.Start(t0, "gone"); err == nil {
		t.Error("Start of an unknown pod succeeded")
	}
}

func TestSetPodsKeepsTheFactsOfAPodThatStays(t *testing.T) {
	b := newBalancer(t, balancing.Options{Strategy: "least_connections"}, makePods(2))
	result, err := b.Start(t0, "pod-1")
	if err != nil {
		t.Fatal(err)
	}
	b.AddSessions("pod-1", 7)
	leaver, err := b.Start(t0, "pod-0")
	if err != nil {
		t.Fatal(err)
	}
	b.SetPods(t0, makePods(3, 5, 50, 5)[1:])
	if got := loadOf(t, b, "pod-1"); got.InFlight != 1 || got.Sessions != 7 {
		t.Errorf("pod-1 after SetPods = %+v", got)
	}
	if picked := mustPick(t, b, t0, ""); picked.Pod() != "pod-1" {
		t.Errorf("picked %s although pod-1 has ten times the weight now", picked.Pod())
	} else {
		picked.Cancel()
	}
	leaver.Done(t0, balancing.Outcome{Kind: balancing.Success})
	result.Done(t0.Add(time.Second), balancing.Outcome{Kind: balancing.Success, ResponseTime: time.Second})
	got := loadOf(t, b, "pod-1")
	if got.InFlight != 0 || got.ResponseTime != time.Second || !got.LastResponse.Equal(t0.Add(time.Second)) {
		t.Errorf("pod-1 after Done = %+v", got)
	}
}

// A changed policy is in force at once, for what is already in flight too.
func TestUpdateKeepsTheFacts(t *testing.T) {
	for _, name := range balancing.NewRegistry().Names() {
		b := newBalancer(t, balancing.Options{Strategy: "least_connections"}, makePods(2))
		feed(t, b, t0, 10*time.Millisecond, 20*time.Millisecond)
		b.SetSessions("pod-1", 3)
		open := []balancing.PickResult{mustPick(t, b, t0, ""), mustPick(t, b, t0, "")}
		before := fmt.Sprint(b.Loads(), b.Stats())
		if err := b.Update(t0, balancing.Options{Strategy: name, MaxConnections: 2}); err != nil {
			t.Fatal(err)
		}
		if after := fmt.Sprint(b.Loads(), b.Stats()); after != before {
			t.Errorf("%s: after an update\n%s, before\n%s", name, after, before)
		}
		mustPick(t, b, t0, "k")
		mustPick(t, b, t0, "k")
		if _, err := b.Pick(t0, "k"); !errors.Is(err, balancing.ErrNoPods) {
			t.Errorf("%s: a fifth request under a cap of two on two pods: %v", name, err)
		}
		for _, result := range open {
			result.Done(t0, balancing.Outcome{})
		}
		mustPick(t, b, t0, "k")
		for _, bad := range []balancing.Options{{Strategy: "magic"}, {Strategy: name, SlowStart: -1}} {
			if err := b.Update(t0, bad); err == nil {
				t.Errorf("Update(%+v) = nil error", bad)
			}
		}
		mustPick(t, b, t0, "k")
		if _, err := b.Pick(t0, "k"); !errors.Is(err, balancing.ErrNoPods) {
			t.Errorf("%s: a refused update changed the cap: %v", name, err)
		}
	}
}

// The first pods do not start slowly, also when the policy changed before they came.
func TestAnUpdateIsNoJoin(t *testing.T) {
	opts := balancing.Options{Strategy: "least_connections", SlowStart: time.Minute}
	b, err := balancing.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Update(t0, opts); err != nil {
		t.Fatal(err)
	}
	b.SetPods(t0, makePods(2))
	b.SetPods(t0, makePods(3))
	if err := b.Update(t0, opts); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for range 42 {
		seen[mustPick(t, b, t0, "").Pod()]++
	}
	if seen["pod-2"] > 4 || seen["pod-0"] < 15 {
		t.Errorf("picks %v: only pod-2 joined late", seen)
	}
}

func TestStats(t *testing.T) {
	b := newBalancer(t, balancing.Options{Strategy: "round_robin"}, makePods(3))
	if s := b.Stats(); s != (balancing.Stats{}) {
		t.Errorf("stats before any request = %+v", s)
	}
	end := func(o balancing.Outcome) { mustPick(t, b, t0.Add(time.Minute), "").Done(t0, o) }
	end(balancing.Outcome{Kind: balancing.Success, ResponseTime: 10 * time.Millisecond})
	end(balancing.Outcome{Kind: balancing.Failure, ResponseTime: 30 * time.Millisecond})
	end(balancing.Outcome{Kind: balancing.Aborted})
	end(balancing.Outcome{Kind: balancing.Unknown})
	want := balancing.Stats{TotalRequests: 4, Successful: 1, Failed: 1, AverageResponseTime: 20 * time.Millisecond, LastRequest: t0.Add(time.Minute)}
	if s := b.Stats(); s != want {
		t.Errorf("stats = %+v, want %+v", s, want)
	}
}

// A model of the counts: whatever happens, in-flight is what was begun and not
// ended.
func TestInFlightModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.SampledFrom(balancing.NewRegistry().Names()).Draw(rt, "strategy")
		b := newBalancer(t, balancing.Options{Strategy: name, Repeatable: true}, makePods(6))
		model := map[string]int64{}
		var open, ended []balancing.PickResult
		now := t0
		draw := func(rt *rapid.T) (i int, o balancing.Outcome) {
			if len(open) == 0 {
				rt.Skip("none open")
			}
			return rapid.IntRange(0, len(open)-1).Draw(rt, "which"), balancing.Outcome{
				Kind:         rapid.SampledFrom([]balancing.OutcomeKind{balancing.Unknown, balancing.Success, balancing.Failure, balancing.Aborted}).Draw(rt, "kind"),
				ResponseTime: time.Duration(rapid.Int64Range(0, 1e10).Draw(rt, "took")),
			}
		}
		end := func(i int) {
			model[open[i].Pod()]--
			ended = append(ended, open[i])
			open = append(open[:i], open[i+1:]...)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"pick": func(rt *rapid.T) {
				result, err := b.Pick(now, rapid.String().Draw(rt, "key"))
				if err != nil {
					rt.Fatal(err)
				}
				model[result.Pod()]++
				open = append(open, result)
			},
			"answered": func(rt *rapid.T) {
				i, o := draw(rt)
				open[i].Answered(now, o)
			},
			"unwatched": func(rt *rapid.T) {
				i, _ := draw(rt)
				open[i].Unwatched()
			},
			"done": func(rt *rapid.T) {
				i, o := draw(rt)
				open[i].Done(now, o)
				end(i)
			},
			"cancel": func(rt *rapid.T) {
				i, _ := draw(rt)
				open[i].Cancel()
				end(i)
			},
			"done again": func(rt *rapid.T) {
				if len(ended) == 0 {
					rt.Skip("none ended")
				}
				again := rapid.SampledFrom(ended).Draw(rt, "which")
				again.Answered(now, balancing.Outcome{Kind: balancing.Failure})
				again.Done(now, balancing.Outcome{Kind: balancing.Failure})
			},
			"time": func(rt *rapid.T) { now = now.Add(time.Duration(rapid.Int64Range(-1e9, 1e11).Draw(rt, "dt"))) },
			"pods": func(rt *rapid.T) { b.SetPods(now, makePods(6, rapid.Uint32().Draw(rt, "weight"))) },
			"": func(rt *rapid.T) {
				for pod, l := range b.Loads() {
					if l.InFlight != model[pod] || l.ErrorRate < 0 || l.ErrorRate > 1 || l.ResponseTime < 0 {
						rt.Fatalf("%s = %+v, model has %d in flight", pod, l, model[pod])
					}
				}
			},
		})
	})
}

// New sessions go to pods to be avoided only where no other has room.
func TestPodsToBeAvoided(t *testing.T) {
	for _, strategy := range balancing.NewRegistry().Names() {
		t.Run(strategy, func(t *testing.T) {
			pods := makePods(4)
			pods[1].Avoid, pods[2].Avoid = true, true
			pods[3].State = statefulroute.Draining
			b := newBalancer(t, balancing.Options{Strategy: strategy, MaxConnections: 5, SlowStart: time.Minute}, pods)
			picked := map[string]int{}
			for i := range 15 {
				result := mustPick(t, b, t0, fmt.Sprint(i))
				if picked[result.Pod()]++; i < 5 && result.Pod() != "pod-0" {
					t.Errorf("pick %d went to %s", i, result.Pod())
				}
			}
			if want := map[string]int{"pod-0": 5, "pod-1": 5, "pod-2": 5}; !maps.Equal(picked, want) {
				t.Errorf("picked %v, want %v", picked, want)
			}
			if home, ok := b.Home("x"); home != "pod-0" || !ok {
				t.Errorf("home is %q", home)
			}
			if _, err := b.Start(t0, "pod-1"); err != nil {
				t.Errorf("a bound request of a pod to be avoided: %v", err)
			}
			pods[0].Avoid = true // all alike: no reason to choose
			b.SetPods(t0, pods)
			homes := map[string]bool{}
			for i := range 100 {
				home, _ := b.Home(fmt.Sprint(i))
				homes[home] = true
			}
			if len(homes) != 3 {
				t.Errorf("all are to be avoided, and homes are %v", homes)
			}
		})
	}
}
