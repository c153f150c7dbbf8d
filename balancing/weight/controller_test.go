package weight_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stateful-route/stateful-route/balancing/weight"
)

func newController(opts weight.Options) *weight.Controller {
	if opts.Scale == 0 {
		opts.Scale = 100 // weights to read as per cent
	}
	return weight.New(opts)
}

// reports feeds one second's reports of pods with the given response times, about
// 50 requests each with 30 % noise, and returns the weights.
type reports struct {
	t      testing.TB
	w      *weight.Controller
	now    time.Time
	random *rand.Rand
	pushes int
}

func newReports(t testing.TB, opts weight.Options, pods int) *reports {
	r := &reports{t: t, w: newController(opts), now: t0, random: rand.New(rand.NewPCG(1, 1))}
	r.w.SetPods(t0, makePods(pods))
	r.w.Next(t0)
	return r
}

func (r *reports) second(times ...time.Duration) map[string]uint32 {
	r.now = r.now.Add(time.Second)
	for i, took := range times {
		noisy := time.Duration(float64(took) * (1 + 0.3*r.random.NormFloat64()/math.Sqrt(50)))
		r.w.Observe(r.now, podName(i), weight.Observation{
			Interval: time.Second, Issued: 50, Succeeded: 50, InProgress: 2, ResponseTime: max(noisy, 1),
		})
	}
	weights, push := r.w.Next(r.now)
	if push {
		r.pushes++
	}
	return weights
}

// The bound of the load loop: a pod ten times slower than its peers falls below
// half of their weight within 15 reports and comes back after it recovers, and in
// between the weights hardly move.
func TestASlowPodsWeightFallsSettlesAndReturns(t *testing.T) {
	const ms = time.Millisecond
	r := newReports(t, weight.Options{}, 3)
	for range 60 {
		r.second(10*ms, 10*ms, 10*ms)
	}
	var weights map[string]uint32
	fell := -1
	for i := range 60 {
		weights = r.second(10*ms, 100*ms, 10*ms)
		if fell < 0 && 2*weights["pod-1"] < min(weights["pod-0"], weights["pod-2"]) {
			fell = i + 1
		}
	}
	if fell < 0 || fell > 15 {
		t.Errorf("the slow pod's weight fell below half after %d s, want at most 15; weights %v", fell, weights)
	}
	settled, pushes := weights["pod-1"], r.pushes
	for range 120 {
		weights = r.second(10*ms, 100*ms, 10*ms)
		if x := float64(weights["pod-1"]) / float64(settled); x < 0.9 || x > 1.1 {
			t.Fatalf("the settled weight moved from %d to %d", settled, weights["pod-1"])
		}
	}
	if r.pushes > pushes+6 {
		t.Errorf("%d pushes in two steady minutes", r.pushes-pushes)
	}
	back := -1
	for i := range 60 {
		weights = r.second(10*ms, 10*ms, 10*ms)
		if back < 0 && float64(weights["pod-1"]) > 0.8*float64(weights["pod-0"]) {
			back = i + 1
		}
	}
	if back < 0 || back > 30 {
		t.Errorf("the recovered pod was back after %d s, want at most 30; weights %v", back, weights)
	}
}

// Without measured response times the number in progress tells, by Little's law.
func TestWeightsFollowInProgress(t *testing.T) {
	w := newController(weight.Options{})
	w.SetPods(t0, makePods(3))
	var weights map[string]uint32
	for i := range 15 {
		now := t0.Add(time.Duration(i) * time.Second)
		for pod, ended := range []uint64{100, 100, 10} {
			w.Observe(now, podName(pod), weight.Observation{Succeeded: ended, InProgress: 5})
		}
		weights, _ = w.Next(now)
	}
	if 2*weights["pod-2"] >= weights["pod-0"] {
		t.Errorf("weights %v: the pod that ends a tenth as many of as many in progress keeps more than half", weights)
	}
}

func TestWeightsLowerAFailingPod(t *testing.T) {
	w := newController(weight.Options{})
	w.SetPods(t0, makePods(3))
	var weights map[string]uint32
	for i := range 30 {
		now := t0.Add(time.Duration(i) * time.Second)
		w.Observe(now, "pod-0", weight.Observation{Succeeded: 100, ResponseTime: 10 * time.Millisecond})
		w.Observe(now, "pod-1", weight.Observation{Succeeded: 100, ResponseTime: 10 * time.Millisecond})
		w.Observe(now, "pod-2", weight.Observation{Failed: 100, ResponseTime: time.Millisecond})
		weights, _ = w.Next(now)
	}
	if weights["pod-2"] > 10 || weights["pod-0"] != 100 {
		t.Errorf("weights %v, want the failing pod's near the least", weights)
	}
}

func TestPanicGuard(t *testing.T) {
	w := newController(weight.Options{})
	w.SetPods(t0, makePods(4))
	for _, pod := range []string{"pod-0", "pod-1"} {
		w.Penalty(pod, 0.1)
	}
	after := func(s int) map[string]uint32 {
		var weights map[string]uint32
		for i := range 20 {
			weights, _ = w.Next(t0.Add(time.Duration(s+i) * time.Second))
		}
		return weights
	}
	if got := after(0); got["pod-0"] > 12 || got["pod-2"] != 100 {
		t.Errorf("half of the pods bad: weights %v, want those lowered", got)
	}
	w.Penalty("pod-2", 0.1)
	if got := after(100); got["pod-0"] != 100 || got["pod-2"] != 100 {
		t.Errorf("most pods bad: weights %v, want none lowered", got)
	}
	w.Penalty("pod-0", 1)
	w.Penalty("pod-1", math.NaN())
	w.Penalty("pod-2", 1)
	if got := after(200); got["pod-0"] != 100 || got["pod-1"] > 12 {
		t.Errorf("after the penalties ended: weights %v", got)
	}
}

func TestWeightsAtMostOnePushASecondInBoundedSteps(t *testing.T) {
	w := newController(weight.Options{})
	w.SetPods(t0, makePods(3))
	w.Next(t0)
	w.Penalty("pod-1", 0.02)
	last, pushed := uint32(100), t0
	for i := range 100 {
		now := t0.Add(time.Duration(i+1) * 100 * time.Millisecond)
		weights, push := w.Next(now)
		if !push {
			continue
		}
		if now.Sub(pushed) < time.Second {
			t.Errorf("a push %v after the one before", now.Sub(pushed))
		}
		if got := weights["pod-1"]; 2*got+1 < last {
			t.Errorf("a step from %d to %d", last, got)
		}
		last, pushed = weights["pod-1"], now
	}
	if last != 2 {
		t.Errorf("the weight ends at %d, want 2", last)
	}
}

func TestWeightsSlowStartAndTheUnknown(t *testing.T) {
	r := newReports(t, weight.Options{SlowStart: 10 * time.Second}, 2)
	for range 60 {
		r.second(10*time.Millisecond, 10*time.Millisecond)
	}
	r.w.SetPods(r.now, makePods(3, 1, 1, 2))
	joined := r.second(10*time.Millisecond, 10*time.Millisecond)["pod-2"]
	var weights map[string]uint32
	for range 12 {
		weights = r.second(10*time.Millisecond, 10*time.Millisecond)
	}
	if joined < 20 || joined > 60 || weights["pod-2"] < 170 || weights["pod-2"] > 230 {
		t.Errorf("the joining pod of weight 2 has %d at first and %d at last, peers %d", joined, weights["pod-2"], weights["pod-0"])
	}
}

func TestNoReportsNoPushes(t *testing.T) {
	w := newController(weight.Options{})
	w.SetPods(t0, makePods(2, 3, 1))
	weights, push := w.Next(t0)
	if !push || weights["pod-0"] != 300 || weights["pod-1"] != 100 {
		t.Errorf("first weights %v, push %v; want the configured ones × 100", weights, push)
	}
	for i := range 100 {
		if _, push := w.Next(t0.Add(time.Duration(i+1) * time.Second)); push {
			t.Fatalf("a push after %d idle seconds", i+1)
		}
	}
}

// Whatever is reported, weights are at least 1 and fit in 32 bits together.
func TestWeightsProperties(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newController(weight.Options{SlowStart: time.Duration(rapid.Int64Range(0, 1e11).Draw(rt, "slow start"))})
		now := t0
		n := 0
		setPods := func(rt *rapid.T) {
			n = rapid.IntRange(0, 20).Draw(rt, "pods")
			pods := makePods(n)
			for i := range pods {
				pods[i].Weight = rapid.Uint32().Draw(rt, "weight")
			}
			w.SetPods(now, pods)
		}
		setPods(rt)
		pod := func(rt *rapid.T) string { return podName(rapid.IntRange(0, 25).Draw(rt, "pod")) }
		rt.Repeat(map[string]func(*rapid.T){
			"pods": setPods,
			"observe": func(rt *rapid.T) {
				w.Observe(now, pod(rt), weight.Observation{
					Interval:     time.Duration(rapid.Int64().Draw(rt, "interval")),
					Succeeded:    rapid.Uint64().Draw(rt, "succeeded"),
					Failed:       rapid.Uint64().Draw(rt, "failed"),
					InProgress:   rapid.Uint64().Draw(rt, "in progress"),
					ResponseTime: time.Duration(rapid.Int64().Draw(rt, "took")),
				})
			},
			"penalty": func(rt *rapid.T) { w.Penalty(pod(rt), rapid.Float64().Draw(rt, "factor")) },
			"": func(rt *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(-1e9, 1e13).Draw(rt, "dt")))
				weights, _ := w.Next(now)
				var sum uint64
				for name, x := range weights {
					if x == 0 {
						rt.Fatalf("%s has weight 0", name)
					}
					sum += uint64(x)
				}
				if sum > math.MaxUint32 || len(weights) != n {
					rt.Fatalf("%d weights of %d pods sum to %d: %v", len(weights), n, sum, weights)
				}
			},
		})
	})
}

// Whatever is reported, a push changes no weight by more than the largest step, but
// for rounding: that of a pod which has recovered, or seemed to.
func TestWeightStepsAreBounded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(1, 8).Draw(rt, "pods")
		w := newController(weight.Options{Scale: 1000})
		w.SetPods(t0, makePods(n, rapid.SliceOfN(rapid.Uint32Range(1, 100), n, n).Draw(rt, "weights")...))
		last, _ := w.Next(t0)
		now := t0
		rt.Repeat(map[string]func(*rapid.T){
			"observe": func(rt *rapid.T) {
				for i := range n {
					w.Observe(now, podName(i), weight.Observation{
						Interval: time.Second, Succeeded: rapid.Uint64Range(0, 500).Draw(rt, "succeeded"),
						Failed:       rapid.Uint64Range(0, 50).Draw(rt, "failed"),
						InProgress:   rapid.Uint64Range(0, 100).Draw(rt, "in progress"),
						ResponseTime: time.Duration(rapid.Int64Range(0, 1e10).Draw(rt, "took")),
					})
				}
			},
			"penalty": func(rt *rapid.T) {
				w.Penalty(podName(rapid.IntRange(0, n-1).Draw(rt, "pod")), rapid.Float64Range(0, 1).Draw(rt, "factor"))
			},
			"": func(rt *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(0, 3e9).Draw(rt, "dt")))
				weights, push := w.Next(now)
				for pod, x := range weights {
					if before := last[pod]; x > 12*before+6 || 12*x+6 < before || x != before && !push {
						rt.Fatalf("%s went from %d to %d in one step, push %v", pod, before, x, push)
					}
				}
				last = weights
			},
		})
	})
}
