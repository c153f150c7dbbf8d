package balancing_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stateful-route/stateful-route/balancing"
)

func newHealth(t testing.TB, opts balancing.HealthOptions, names ...string) *balancing.Health {
	t.Helper()
	h, err := balancing.NewHealth(opts)
	if err != nil {
		t.Fatal(err)
	}
	h.SetPods(t0, names)
	return h
}

// probeAll runs one round of probes and returns what changed, as "pod up" or
// "pod down".
func probeAll(h *balancing.Health, now time.Time, down ...string) []string {
	var changed []string
	for _, pod := range h.Due(now) {
		for _, t := range h.Result(pod, !slices.Contains(down, pod)) {
			word := "down"
			if t.Healthy {
				word = "up"
			}
			changed = append(changed, t.Pod+" "+word)
		}
	}
	return changed
}

func TestHealthThresholds(t *testing.T) {
	h := newHealth(t, balancing.HealthOptions{Interval: time.Second, UnhealthyAfter: 3, HealthyAfter: 2}, "a", "b")
	for i, step := range []struct {
		down []string
		want string
	}{
		{[]string{"a"}, "[]"},
		{[]string{"a"}, "[]"},
		{nil, "[]"}, // a success starts the count again
		{[]string{"a"}, "[]"},
		{[]string{"a"}, "[]"},
		{[]string{"a"}, "[a down]"},
		{[]string{"a"}, "[]"},
		{nil, "[]"},
		{[]string{"a"}, "[]"},
		{nil, "[]"},
		{nil, "[a up]"},
	} {
		if got := fmt.Sprint(probeAll(h, t0.Add(time.Duration(i+1)*time.Second), step.down...)); got != step.want {
			t.Errorf("round %d: %s, want %s", i, got, step.want)
		}
	}
}

func TestAllPodsFailingTakesNoneOut(t *testing.T) {
	h := newHealth(t, balancing.HealthOptions{Interval: time.Second}, "a", "b", "c")
	steps := []struct {
		down []string
		want string
	}{
		{[]string{"a", "b", "c"}, "[a down b down a up b up]"},
		{[]string{"a", "b", "c"}, "[]"},
		{[]string{"a", "b"}, "[a down b down]"}, // c is back, so the others go
		{nil, "[a up b up]"},
	}
	for i, step := range steps {
		if got := fmt.Sprint(probeAll(h, t0.Add(time.Duration(i+1)*time.Second), step.down...)); got != step.want {
			t.Errorf("round %d: %s, want %s", i, got, step.want)
		}
	}
	probeAll(h, t0.Add(10*time.Second), "a", "b")
	if got := h.SetPods(t0.Add(10*time.Second), []string{"a", "b"}); len(got) != 2 || !got[0].Healthy || !h.Healthy("a") {
		t.Errorf("after the last healthy pod left: %v, want a and b back", got)
	}
}

func TestProbesKeepTheIntervalAndDoNotOverlap(t *testing.T) {
	const interval = time.Second
	h := newHealth(t, balancing.HealthOptions{Interval: interval, Seed: 7}, "a", "b", "c")
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
			h.Result(pod, true)
		}
	}
	if len(pauses) < 50 {
		t.Errorf("%d different pauses in 300 probes: no jitter", len(pauses))
	}
}

func TestDoubtProbesAtOnceAndOneFailureIsEnough(t *testing.T) {
	h := newHealth(t, balancing.HealthOptions{Interval: time.Minute, UnhealthyAfter: 3}, "a", "b")
	now := t0.Add(time.Minute)
	probeAll(h, now)
	h.Doubt(now, "a")
	if due := h.Due(now); fmt.Sprint(due) != "[a]" {
		t.Fatalf("due %v, want a at once", due)
	}
	if got := h.Result("a", false); len(got) != 1 || got[0].Healthy {
		t.Errorf("after a doubt and a failure: %v, want a down", got)
	}
	h.Doubt(now, "b")
	h.Due(now)
	if got := h.Result("b", true); got != nil || !h.Healthy("b") {
		t.Errorf("a doubt that a probe refuted took b out: %v", got)
	}
	if got := h.Result("b", false); got != nil {
		t.Errorf("a result without a probe counted: %v", got)
	}
}

func TestHealthRefusesBadOptions(t *testing.T) {
	for _, opts := range []balancing.HealthOptions{{}, {Interval: time.Second, HealthyAfter: -1}} {
		if _, err := balancing.NewHealth(opts); err == nil {
			t.Errorf("NewHealth(%+v) = nil error", opts)
		}
	}
}

// Whatever the results, the transitions tell the whole truth, and not every pod
// is ever out.
func TestHealthModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		names := []string{"a", "b", "c", "d"}
		h := newHealth(t, balancing.HealthOptions{
			Interval:       time.Second,
			UnhealthyAfter: rapid.IntRange(1, 3).Draw(rt, "unhealthy after"),
			HealthyAfter:   rapid.IntRange(1, 3).Draw(rt, "healthy after"),
		}, names...)
		told := map[string]bool{"a": true, "b": true, "c": true, "d": true}
		now := t0
		for range 100 {
			now = now.Add(time.Second)
			for _, pod := range h.Due(now) {
				for _, tr := range h.Result(pod, rapid.Bool().Draw(rt, "ok")) {
					if told[tr.Pod] == tr.Healthy {
						rt.Fatalf("%+v is no transition", tr)
					}
					told[tr.Pod] = tr.Healthy
				}
			}
			out := 0
			for _, name := range names {
				if h.Healthy(name) != told[name] {
					rt.Fatalf("%s is healthy: %v, but the transitions say %v", name, h.Healthy(name), told[name])
				}
				if !told[name] {
					out++
				}
			}
			if out == len(names) {
				rt.Fatal("every pod is out")
			}
		}
	})
}
