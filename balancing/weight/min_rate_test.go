package weight_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/balancing/weight"
)

// trickle closes the loop: what a pod is reported for next follows its weight, as
// Envoy's LEAST_REQUEST deals requests out, so a slow pod is soon measured on very
// few.
type trickle struct {
	w        *weight.Weights
	random   *rand.Rand
	now      time.Time
	measured bool // response times are reported, not only requests in progress
	weights  map[string]uint32
	slowGot  float64 // share of the requests that the last pod got in the last second
}

const trickleRate = 600 // requests a second

func newTrickle(t *testing.T, seed uint64, measured bool) *trickle {
	t.Helper()
	w, err := weight.NewWeights(weight.WeightOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.SetPods(t0, makePods(3))
	weights, _ := w.Next(t0)
	return &trickle{w: w, random: rand.New(rand.NewPCG(seed, 7)), now: t0, measured: measured, weights: weights}
}

// second passes with the last pod taking so long for a request, the others 20 ms.
func (tr *trickle) second(slow time.Duration) {
	took := []time.Duration{20 * time.Millisecond, 20 * time.Millisecond, slow}
	// A pod's turns are its weight over the requests it has in flight and one; a
	// few rounds settle how many that are.
	rates, inFlight := make([]float64, 3), make([]float64, 3)
	for range 30 {
		sum := 0.0
		for i := range rates {
			rates[i] = float64(tr.weights[podName(i)]) / (inFlight[i] + 1)
			sum += rates[i]
		}
		for i := range rates {
			rates[i] *= trickleRate / sum
			inFlight[i] = (inFlight[i] + rates[i]*took[i].Seconds()) / 2
		}
	}
	tr.slowGot = rates[2] / trickleRate
	tr.now = tr.now.Add(time.Second)
	for i := range rates {
		tr.w.Observe(tr.now, podName(i), tr.report(rates[i], took[i]))
	}
	tr.weights, _ = tr.w.Next(tr.now)
}

func (tr *trickle) report(rate float64, took time.Duration) weight.Observation {
	o := weight.Observation{Interval: time.Second, Succeeded: tr.poisson(rate), InProgress: tr.poisson(rate * took.Seconds())}
	if tr.measured && o.Succeeded > 0 {
		noise := 1 + .4*tr.random.NormFloat64()/math.Sqrt(float64(o.Succeeded))
		o.ResponseTime = time.Duration(float64(took) * max(noise, .2))
	}
	return o
}

// poisson draws by counting exponential gaps.
func (tr *trickle) poisson(mean float64) (n uint64) {
	for at := tr.random.ExpFloat64(); at < mean; at += tr.random.ExpFloat64() {
		n++
	}
	return n
}

// The p99 of all requests is a slow pod's own as long as that gets one of a
// hundred. Its share has to stay well below although it is then measured on a
// request a second, the weight must not wander on what that one says, and the pod
// must come back when it has recovered.
func TestASlowPodKeepsATrickle(t *testing.T) {
	for _, measured := range []bool{true, false} {
		for seed := range uint64(10) {
			t.Run(fmt.Sprintf("measured=%v/seed=%d", measured, seed), func(t *testing.T) {
				tr := newTrickle(t, seed, measured)
				for range 60 {
					tr.second(20 * time.Millisecond)
				}
				for range 30 {
					tr.second(200 * time.Millisecond)
				}
				last, moves, got := tr.weights[podName(2)], 0, 0.0
				for range 60 {
					tr.second(200 * time.Millisecond)
					got += tr.slowGot / 60
					if w := tr.weights[podName(2)]; w != last {
						moves++
						last = w
					}
				}
				if measured && moves > 6 {
					t.Errorf("the slow pod's weight moved %d times in a minute", moves)
				}
				if got > .007 {
					t.Errorf("the slow pod gets %.2f %% of the requests, weights %v", 100*got, tr.weights)
				}
				back := 0
				for ; 2*tr.weights[podName(2)] < tr.weights[podName(0)]; back++ {
					if tr.second(20 * time.Millisecond); back == 120 {
						t.Fatalf("the recovered pod is not back after %d s, weights %v", back, tr.weights)
					}
				}
				t.Logf("back after %d s", back)
			})
		}
	}
}
