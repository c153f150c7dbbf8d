package health_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/balancing/health"
)

// wrongly is what is found of pods that all answer their probes wrongly, but for
// those that refuse connections.
func wrongly(refusing ...string) func(string) health.Outcome {
	return func(pod string) health.Outcome {
		if slices.Contains(refusing, pod) {
			return health.Unreachable
		}
		return health.Failed
	}
}

func names(n int) (all []string) {
	for i := range n {
		all = append(all, podName(i))
	}
	return all
}

// All pods fail their checks, after a deployment with a wrong path, say. One whose
// process ends leaves within the usual bound all the same, the others stay, and it is
// back when it is no worse than they are. That all pass again changes nothing.
func TestOfPodsThatAllFailTheOneThatRefusesLeaves(t *testing.T) {
	for _, n := range []int{2, 3, 1000} {
		for seed := range uint64(max(2, 60/n)) {
			after := 1 + int(seed%3)
			h := newChecker(t, health.Options{Interval: time.Second, UnhealthyAfter: after, Seed: seed}, names(n)...)
			p := newProber(h, seed)
			p.run(t0.Add(5*time.Second), failing())
			p.runAs(p.now.Add(20*time.Second), wrongly())
			fault := p.now.Add(time.Duration(seed) * 7 * time.Millisecond)
			p.runAs(fault, wrongly())
			p.runAs(fault.Add(15*time.Second), wrongly(podName(1)))
			if got := p.take(); got != "[pod-1 down]" {
				t.Fatalf("%d pods, seed %d: %s", n, seed, got)
			}
			if took, bound := p.when[podName(1)].Sub(fault), time.Duration(after)*time.Second+100*time.Millisecond; took > bound {
				t.Errorf("%d pods, seed %d, %d failures: it left after %v, want at most %v", n, seed, after, took, bound)
			}
			p.runAs(p.now.Add(1100*time.Millisecond), wrongly())
			if got := p.take(); got != "[pod-1 up]" {
				t.Errorf("%d pods, seed %d: %s when it answers as the others do", n, seed, got)
			}
			p.run(p.now.Add(5*time.Second), failing())
			if got := p.take(); got != "[]" {
				t.Errorf("%d pods, seed %d: %s when all pass again", n, seed, got)
			}
		}
	}
}

// Where every connection is refused or gets no answer, it may be the prober that is cut off. Then
// a part can be reached, and answers wrongly: the others leave.
func TestOfPodsThatAllRefuseNoneLeaves(t *testing.T) {
	for _, n := range []int{3, 1000} {
		h := newChecker(t, health.Options{Interval: time.Second, UnhealthyAfter: 2}, names(n)...)
		p := newProber(h, 1)
		p.run(t0.Add(5*time.Second), failing())
		p.runAs(p.now.Add(30*time.Second), wrongly(names(n)...))
		if got := p.take(); got != "[]" {
			t.Fatalf("%d pods: %s while none can be reached", n, got)
		}
		gone := names(n)[:n/2]
		p.runAs(p.now.Add(10*time.Second), wrongly(gone...))
		if got := len(p.log); got != len(gone) {
			t.Errorf("%d pods: %d left, want %d", n, got, len(gone))
		}
		for _, pod := range gone {
			if h.Healthy(pod) {
				t.Fatalf("%d pods: %s refuses connections and is in service", n, pod)
			}
		}
	}
}

// A pod that another could not take over from stays: that one answered wrongly when others
// passed, and is out.
func TestTheLastPodStaysThoughItRefuses(t *testing.T) {
	h := newChecker(t, health.Options{Interval: time.Second, UnhealthyAfter: 2}, "a", "b")
	p := newProber(h, 1)
	p.run(t0.Add(5*time.Second), failing())
	p.run(p.now.Add(10*time.Second), failing("a"))
	p.runAs(p.now.Add(30*time.Second), wrongly("b"))
	if got := p.take(); got != "[a down]" {
		t.Errorf("changed: %s", got)
	}
}

// Of pods that are all out, those come back first that can be reached.
func TestPodsThatCanBeReachedComeBackFirst(t *testing.T) {
	h := newChecker(t, health.Options{Interval: time.Second, UnhealthyAfter: 2}, "a", "b", "c")
	p := newProber(h, 1)
	p.run(t0.Add(5*time.Second), failing())
	p.runAs(p.now.Add(10*time.Second), func(pod string) health.Outcome {
		return map[string]health.Outcome{"a": health.Failed, "b": health.Unreachable}[pod]
	})
	p.take()
	p.note(h.SetPods(p.now, inService("a", "b")))
	if got := p.take(); got != "[a up]" {
		t.Errorf("%s when the last one that passed has left", got)
	}
	p.note(h.SetPods(p.now, inService("b")))
	if got := p.take(); got != "[b up]" {
		t.Errorf("%s when it is the only one", got)
	}
}

// A pod that refuses beside others that pass leaves and comes back as one that fails,
// and its reason is the same.
func TestARefusalBesidePodsThatPassIsAFailure(t *testing.T) {
	h := newChecker(t, health.Options{Interval: time.Second}, "a", "b")
	var told []string
	tell := func(changed []health.Transition) {
		for _, c := range changed {
			if c.Healthy == c.WasHealthy {
				continue // only to be avoided
			}
			told = append(told, fmt.Sprint(c.Pod, " ", c.Healthy, ": ", c.Reason))
		}
	}
	now := t0
	for _, found := range []health.Outcome{health.Passed, health.Unreachable, health.Failed, health.Passed} {
		for _, pod := range []string{"b", "a", "b"} {
			now = now.Add(time.Second)
			h.Due(now)
			if pod == "a" {
				tell(h.Result(now, pod, found))
			} else {
				tell(h.Result(now, pod, health.Passed))
			}
		}
	}
	want := []string{"a false: failed its health checks", "a true: passed its health checks"}
	if !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}
