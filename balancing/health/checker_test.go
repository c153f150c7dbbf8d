package health_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stateful-route/stateful-route/balancing/health"
)

var t0 = time.Unix(1_000_000, 0)

func podName(i int) string { return fmt.Sprintf("pod-%d", i) }

func newChecker(t testing.TB, opts health.Options, names ...string) *health.Checker {
	t.Helper()
	h, err := health.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	h.SetPods(t0, inService(names...))
	return h
}

func inService(names ...string) []health.Pod {
	var pods []health.Pod
	for _, name := range names {
		pods = append(pods, health.Pod{Name: name, InService: true})
	}
	return pods
}

// prober runs a Checker's probes, each of which takes some milliseconds, and notes
// what changed as "pod up" or "pod down".
type prober struct {
	h      *health.Checker
	now    time.Time
	open   []openProbe
	probes int
	log    []string
	when   map[string]time.Time // of the latest change
	random *rand.Rand
}

type openProbe struct {
	pod string
	end time.Time
}

func newProber(h *health.Checker, seed uint64) *prober {
	return &prober{h: h, now: t0, when: map[string]time.Time{}, random: rand.New(rand.NewPCG(seed, 0))}
}

// run probes until a moment; down says which pods fail.
func (p *prober) run(until time.Time, down func(pod string) bool) {
	p.runAs(until, func(pod string) health.Outcome { return outcome(!down(pod)) })
}

// runAs is run with what the probes of each pod find.
func (p *prober) runAs(until time.Time, find func(pod string) health.Outcome) {
	for {
		at, ok := p.h.Next()
		i := -1
		for j, o := range p.open {
			if !ok || !at.Before(o.end) {
				i, at, ok = j, o.end, true
			}
		}
		if !ok || at.After(until) {
			p.now = until
			return
		}
		if at.After(p.now) {
			p.now = at
		}
		if i >= 0 {
			pod := p.open[i].pod
			p.open = slices.Delete(p.open, i, i+1)
			p.note(p.h.Result(p.now, pod, find(pod)))
			continue
		}
		for _, pod := range p.h.Due(p.now) {
			p.probes++
			p.open = append(p.open, openProbe{pod, p.now.Add(time.Duration(1+p.random.IntN(20)) * time.Millisecond)})
		}
	}
}

var outcomes = []health.Outcome{health.Passed, health.Failed, health.Unreachable}

func outcome(passed bool) health.Outcome {
	if passed {
		return health.Passed
	}
	return health.Failed
}

func (p *prober) note(changed []health.Transition) {
	for _, t := range changed {
		if t.Healthy == t.WasHealthy {
			continue // only to be avoided, or not any more
		}
		word := "down"
		if t.Healthy {
			word = "up"
		}
		p.log = append(p.log, t.Pod+" "+word)
		p.when[t.Pod] = p.now
	}
}

// failing returns a function for run.
func failing(pods ...string) func(string) bool {
	return func(pod string) bool { return slices.Contains(pods, pod) }
}

// take returns what changed since the last take.
func (p *prober) take() string {
	out := fmt.Sprint(p.log)
	p.log = nil
	return out
}

func TestHealthThresholds(t *testing.T) {
	h := newChecker(t, health.Options{Interval: time.Second, UnhealthyAfter: 3, HealthyAfter: 2}, "a", "b")
	for i, step := range []struct {
		a    bool // passes
		want string
	}{
		{false, "[]"}, {false, "[]"},
		{true, "[]"}, // a success starts the count again
		{false, "[]"}, {false, "[]"}, {false, "[a down]"},
		{false, "[]"}, {true, "[]"},
		{false, "[]"}, {true, "[]"}, {true, "[a up]"},
	} {
		p := newProber(h, 1)
		p.now = t0.Add(time.Duration(i+1) * time.Second)
		for _, pod := range []string{"b", "a"} { // b is the healthy peer
			h.Suspect(p.now, "b")
			h.Due(p.now)
			p.note(h.Result(p.now.Add(time.Millisecond), pod, outcome(pod == "b" || step.a)))
		}
		if got := p.take(); got != step.want {
			t.Errorf("round %d: %s, want %s", i, got, step.want)
		}
	}
}

// One pod that fails leaves within thresholds × interval and the time of a probe,
// however the probes of the others lie, and with as few as one other pod.
func TestAFailingPodLeavesWithinItsBound(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f", "g"}
	for seed := range uint64(200) {
		n, after := 2+int(seed%6), 1+int(seed/6%3)
		h := newChecker(t, health.Options{Interval: time.Second, UnhealthyAfter: after, Seed: seed}, names[:n]...)
		p := newProber(h, seed)
		fault := t0.Add(5*time.Second + time.Duration(seed)*7*time.Millisecond)
		p.run(fault, failing())
		p.run(fault.Add(10*time.Second), failing("b"))
		if got := p.take(); got != "[b down]" {
			t.Fatalf("seed %d, %d pods: %s", seed, n, got)
		}
		bound := time.Duration(after)*time.Second + 100*time.Millisecond
		if took := p.when["b"].Sub(fault); took > bound {
			t.Errorf("seed %d, %d pods, %d failures: b left after %v, want at most %v", seed, n, after, took, bound)
		}
	}
}

// Whatever all pods need is gone, and every pod's probe finds out at another time:
// none is taken out. Then some come back: the others get their full number of
// probes before they are taken out.
func TestAllPodsFailingTakesNoneOut(t *testing.T) {
	for seed := range uint64(50) {
		for after := 1; after <= 3; after++ {
			h := newChecker(t, health.Options{Interval: time.Second, UnhealthyAfter: after, Seed: seed}, "a", "b", "c", "d", "e")
			p := newProber(h, seed)
			p.run(t0.Add(5*time.Second), failing())
			p.run(t0.Add(35*time.Second), func(string) bool { return true })
			if got := p.take(); got != "[]" {
				t.Fatalf("seed %d: %s while all pods fail", seed, got)
			}
			back := p.now
			p.run(back.Add(30*time.Second), failing("a", "b", "c", "d"))
			if got := len(p.log); got != 4 || !h.Healthy("e") {
				t.Fatalf("seed %d: %s after one pod came back", seed, p.take())
			}
			for pod, at := range p.when {
				if took := at.Sub(back); took < time.Duration(after-1)*900*time.Millisecond || took > time.Duration(after+2)*time.Second {
					t.Errorf("seed %d: %s left %v after e came back", seed, pod, took)
				}
			}
			p.take()
			p.run(p.now.Add(5*time.Second), failing())
			if got := len(p.log); got != 4 {
				t.Errorf("seed %d: %s after all came back", seed, p.take())
			}
		}
	}
}

// They recover together: none has left in between.
func TestASharedFaultThatEndsMovesNothing(t *testing.T) {
	for seed := range uint64(50) {
		h := newChecker(t, health.Options{Interval: time.Second, UnhealthyAfter: 2, Seed: seed}, "a", "b", "c")
		p := newProber(h, seed)
		p.run(t0.Add(5*time.Second), failing())
		p.run(t0.Add(25*time.Second), failing("a", "b", "c"))
		p.run(t0.Add(45*time.Second), failing())
		if got := p.take(); got != "[]" {
			t.Fatalf("seed %d: %s", seed, got)
		}
	}
}

// A pod that fails on and off is no reason to keep one that always fails.
func TestAPodIsTakenOutBesideOneThatFlaps(t *testing.T) {
	h := newChecker(t, health.Options{Interval: time.Second, UnhealthyAfter: 2}, "dead", "flapping")
	p := newProber(h, 1)
	n := 0
	p.run(t0.Add(60*time.Second), func(pod string) bool {
		if pod == "dead" {
			return true
		}
		n++
		return n%5 == 0
	})
	if got := p.take(); got != "[dead down]" {
		t.Errorf("changed: %s", got)
	}
}

func TestAPodOutOfServiceIsNoHealthyPeer(t *testing.T) {
	h := newChecker(t, health.Options{Interval: time.Second}, "a", "b")
	pods := append(inService("a", "b"), health.Pod{Name: "drained"})
	h.SetPods(t0, pods)
	p := newProber(h, 1)
	p.run(t0.Add(10*time.Second), failing("a", "b"))
	if got := p.take(); got != "[]" {
		t.Errorf("%s, and only a drained pod would be left", got)
	}
	pods[2].InService = true
	p.note(h.SetPods(p.now, pods))
	p.run(p.now.Add(10*time.Second), failing("a", "b"))
	if got := p.take(); got != "[a down b down]" && got != "[b down a down]" {
		t.Errorf("%s with another pod in service", got)
	}
	pods[2].InService = false
	p.note(h.SetPods(p.now, pods))
	if got := p.take(); got != "[a up b up]" {
		t.Errorf("%s when the last healthy pod is drained", got)
	}
	p.note(h.SetPods(p.now, inService("a", "b")))
	p.run(p.now.Add(10*time.Second), failing("a"))
	if got := p.take(); got != "[a down]" {
		t.Errorf("%s after b recovered", got)
	}
	p.note(h.SetPods(p.now, inService("a")))
	if got := p.take(); got != "[a up]" || !h.Healthy("a") {
		t.Errorf("%s after the last healthy pod left", got)
	}
}

// A pod that was down when the check began has to pass it first.
func TestAPodThatWasDownIsJudgedByItsProbes(t *testing.T) {
	h := newChecker(t, health.Options{Interval: time.Second, HealthyAfter: 2}, "a")
	p := newProber(h, 1)
	p.note(h.SetPods(t0, append(inService("a"), health.Pod{Name: "b", InService: true, Down: true})))
	if h.Healthy("b") {
		t.Error("b is up without a probe")
	}
	p.run(t0.Add(900*time.Millisecond), failing())
	if h.Healthy("b") {
		t.Error("b is up after one probe of two")
	}
	p.run(t0.Add(5*time.Second), failing())
	if got := p.take(); got != "[b up]" {
		t.Errorf("changed: %s", got)
	}
}

// A shared fault must not set off a storm of probes.
func TestProbesOfPeersAreBounded(t *testing.T) {
	var names []string
	for i := range 200 {
		names = append(names, podName(i))
	}
	for after := 1; after <= 2; after++ {
		h := newChecker(t, health.Options{Interval: time.Second, UnhealthyAfter: after}, names...)
		p := newProber(h, 1)
		p.run(t0.Add(5*time.Second), failing())
		p.probes = 0
		p.run(t0.Add(15*time.Second), func(string) bool { return true })
		if usual := 10 * len(names); p.probes > usual*13/10 {
			t.Errorf("%d probes in 10 s, usually %d", p.probes, usual)
		}
	}
	h := newChecker(t, health.Options{Interval: time.Minute}, names...)
	p := newProber(h, 1)
	p.run(t0.Add(time.Minute), failing())
	h.Suspect(p.now, podName(7))
	p.probes = 0
	p.run(p.now.Add(25*time.Millisecond), failing(podName(7)))
	if p.probes < 2 || p.probes > 6 || h.Healthy(podName(7)) {
		t.Errorf("%d probes to judge one pod of 200, healthy %v", p.probes, h.Healthy(podName(7)))
	}
}

func TestProbesKeepTheIntervalAndDoNotOverlap(t *testing.T) {
	const interval = time.Second
	h := newChecker(t, health.Options{Interval: interval, Seed: 7}, "a", "b", "c")
	last := map[string]time.Time{}
	pauses := map[time.Duration]bool{}
	now := t0
	for range 300 {
		next, ok := h.Next()
		if !ok {
			t.Fatal("nothing to come")
		}
		if next.After(now) {
			now = next
		}
		for _, pod := range h.Due(now) {
			if before, seen := last[pod]; seen {
				pause := now.Sub(before)
				pauses[pause] = true
				if pause < interval*9/10 || pause > interval {
					t.Fatalf("%s was probed after %v", pod, pause)
				}
			} else if now.Sub(t0) > interval {
				t.Fatalf("%s was first probed after %v", pod, now.Sub(t0))
			}
			last[pod] = now
			if again := h.Due(now); slices.Contains(again, pod) {
				t.Fatalf("%s is due while it is probed", pod)
			}
			h.Result(now, pod, health.Passed)
		}
	}
	if len(pauses) < 50 {
		t.Errorf("%d different pauses in 300 probes: no jitter", len(pauses))
	}
}

func TestASuspectIsProbedAtOnceAndOneFailureIsEnough(t *testing.T) {
	h := newChecker(t, health.Options{Interval: time.Minute, UnhealthyAfter: 3}, "a", "b")
	p := newProber(h, 1)
	p.run(t0.Add(time.Minute), failing())
	now := p.now
	h.Suspect(now, "a")
	if due := h.Due(now); fmt.Sprint(due) != "[a]" {
		t.Fatalf("due %v, want a at once", due)
	}
	p.note(h.Result(now, "a", health.Failed))
	p.run(now.Add(time.Second), failing("a")) // b is asked at once
	if got := p.take(); got != "[a down]" {
		t.Errorf("suspect, after a failure: %v, want a down", got)
	}
	now = p.now
	h.Suspect(now, "b")
	h.Due(now)
	if got := h.Result(now, "b", health.Passed); got != nil || !h.Healthy("b") {
		t.Errorf("a suspect that passed is out: %v", got)
	}
	if got := h.Result(now, "b", health.Failed); got != nil {
		t.Errorf("a result without a probe counted: %v", got)
	}
}

func TestHealthRefusesBadOptions(t *testing.T) {
	for _, opts := range []health.Options{{}, {Interval: time.Second, HealthyAfter: -1}} {
		if _, err := health.New(opts); err == nil {
			t.Errorf("NewHealth(%+v) = nil error", opts)
		}
	}
}

// Whatever the results, the transitions tell the whole truth, and not every pod
// is ever out.
func TestHealthModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		names := []string{"a", "b", "c", "d"}
		h := newChecker(t, health.Options{
			Interval:       time.Second,
			UnhealthyAfter: rapid.IntRange(1, 3).Draw(rt, "unhealthy after"),
			HealthyAfter:   rapid.IntRange(1, 3).Draw(rt, "healthy after"),
		}, names...)
		told := map[string]bool{"a": true, "b": true, "c": true, "d": true}
		avoided := map[string]bool{}
		now := t0
		for range 100 {
			now = now.Add(time.Second)
			for _, pod := range h.Due(now) {
				for _, tr := range h.Result(now, pod, rapid.SampledFrom(outcomes).Draw(rt, "found")) {
					if told[tr.Pod] == tr.Healthy && avoided[tr.Pod] == tr.Avoid || tr.Avoid && !tr.Healthy || tr.WasHealthy != told[tr.Pod] {
						rt.Fatalf("%+v is no transition", tr)
					}
					told[tr.Pod], avoided[tr.Pod] = tr.Healthy, tr.Avoid
				}
			}
			out, takers := 0, 0
			for _, name := range names {
				if h.Healthy(name) != told[name] || h.Avoided(name) != avoided[name] {
					rt.Fatalf("%s is healthy: %v, avoided: %v, but the transitions say %v, %v", name, h.Healthy(name), h.Avoided(name), told[name], avoided[name])
				}
				switch {
				case !told[name]:
					out++
				case !avoided[name]:
					takers++
				}
			}
			if out == len(names) || takers == 0 {
				rt.Fatalf("of %d pods %d are out and %d take new sessions", len(names), out, takers)
			}
		}
	})
}
