package weight_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/balancing/weight"
)

// closedLoop joins both ends: what a pod is reported for next follows its weight, as
// Envoy's LEAST_REQUEST deals requests out, so a slow pod is soon measured on very
// few.
type closedLoop struct {
	w        *weight.Controller
	random   *rand.Rand
	now      time.Time
	measured bool // response times are reported, not only requests in progress
	weights  map[string]uint32
	slowGot  float64 // share of the requests that the last pod got in the last second
}

const loopRate = 600 // requests a second

func newClosedLoop(t *testing.T, seed uint64, measured bool) *closedLoop {
	t.Helper()
	w := weight.New(weight.Options{})
	w.SetPods(t0, makePods(3))
	weights, _ := w.Next(t0)
	return &closedLoop{w: w, random: rand.New(rand.NewPCG(seed, 7)), now: t0, measured: measured, weights: weights}
}

// second passes with the last pod taking so long for a request, the others 20 ms.
func (l *closedLoop) second(slow time.Duration) {
	took := []time.Duration{20 * time.Millisecond, 20 * time.Millisecond, slow}
	// A pod's turns are its weight over the requests it has in flight and one; a
	// few rounds settle how many that are.
	rates, inFlight := make([]float64, 3), make([]float64, 3)
	for range 30 {
		sum := 0.0
		for i := range rates {
			rates[i] = float64(l.weights[podName(i)]) / (inFlight[i] + 1)
			sum += rates[i]
		}
		for i := range rates {
			rates[i] *= loopRate / sum
			inFlight[i] = (inFlight[i] + rates[i]*took[i].Seconds()) / 2
		}
	}
	l.slowGot = rates[2] / loopRate
	l.now = l.now.Add(time.Second)
	for i := range rates {
		l.w.Observe(l.now, podName(i), l.report(rates[i], took[i]))
	}
	l.weights, _ = l.w.Next(l.now)
}

func (l *closedLoop) report(rate float64, took time.Duration) weight.Observation {
	o := weight.Observation{Interval: time.Second, Succeeded: l.poisson(rate), InProgress: l.poisson(rate * took.Seconds())}
	if l.measured && o.Succeeded > 0 {
		noise := 1 + .4*l.random.NormFloat64()/math.Sqrt(float64(o.Succeeded))
		o.ResponseTime = time.Duration(float64(took) * max(noise, .2))
	}
	return o
}

// poisson draws by counting exponential gaps.
func (l *closedLoop) poisson(mean float64) (n uint64) {
	for at := l.random.ExpFloat64(); at < mean; at += l.random.ExpFloat64() {
		n++
	}
	return n
}

// The p99 of all requests is a slow pod's own as long as that gets one of a
// hundred. Its share has to stay well below although it is then measured on a
// request a second, the weight must not wander on what that one says, and the pod
// must come back when it has recovered.
func TestASlowPodKeepsItsMinRate(t *testing.T) {
	for _, measured := range []bool{true, false} {
		for seed := range uint64(10) {
			t.Run(fmt.Sprintf("measured=%v/seed=%d", measured, seed), func(t *testing.T) {
				l := newClosedLoop(t, seed, measured)
				for range 60 {
					l.second(20 * time.Millisecond)
				}
				for range 30 {
					l.second(200 * time.Millisecond)
				}
				last, moves, got := l.weights[podName(2)], 0, 0.0
				for range 60 {
					l.second(200 * time.Millisecond)
					got += l.slowGot / 60
					if w := l.weights[podName(2)]; w != last {
						moves++
						last = w
					}
				}
				if measured && moves > 6 {
					t.Errorf("the slow pod's weight moved %d times in a minute", moves)
				}
				if got > .007 {
					t.Errorf("the slow pod gets %.2f %% of the requests, weights %v", 100*got, l.weights)
				}
				back := 0
				for ; 2*l.weights[podName(2)] < l.weights[podName(0)]; back++ {
					if l.second(20 * time.Millisecond); back == 120 {
						t.Fatalf("the recovered pod is not back after %d s, weights %v", back, l.weights)
					}
				}
				t.Logf("back after %d s", back)
			})
		}
	}
}
