package weight_test

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/balancing/weight"
)

// envoy is a model of Envoy's LEAST_REQUEST over weights, event by event: each
// worker has a schedule of its own in which a host comes again after (active + 1) /
// weight, begun anew some turns in whenever the weights change. The last of three
// pods takes as long as slow says, the others 20 ms, all with as much noise as a
// queue has.
type envoy struct {
	w       *weight.Controller
	random  *rand.Rand
	now     float64 // seconds
	rate    float64 // requests a second, all pods together
	slow    float64 // seconds
	fails   bool    // the slow one answers with nothing but failures
	weights map[string]uint32
	workers [2]schedule
	open    ends // of requests
	pods    [3]podCounts
	// lastIssued is how many requests the last pod got in the last second.
	lastIssued uint64
}

// podCounts are what is reported of a pod next.
type podCounts struct {
	active              int
	issued, ended, bad  uint64
	timed, later        uint64 // response times that the next report has, and the one after
	tookTimed, tookLate float64
}

func newEnvoy(t *testing.T, seed uint64, rate float64) *envoy {
	t.Helper()
	w := weight.New(weight.Options{})
	w.SetPods(t0, makePods(3))
	e := &envoy{w: w, random: rand.New(rand.NewPCG(seed, 11)), rate: rate, slow: .02}
	e.weights, _ = w.Next(t0)
	e.rebuild()
	return e
}

func (e *envoy) rebuild() {
	for i := range e.workers {
		s := &e.workers[i]
		*s = schedule{}
		for pod := range e.pods {
			heap.Push(s, turn{at: e.random.Float64() * e.period(pod), pod: pod}) // stationary from the start
		}
	}
}

func (e *envoy) period(pod int) float64 {
	return float64(e.pods[pod].active+1) / float64(e.weights[podName(pod)])
}

// second serves a second's requests, reports, and takes the new weights over.
func (e *envoy) second() {
	until := e.now + 1
	for {
		e.now += e.random.ExpFloat64() / e.rate
		e.end(min(e.now, until))
		if e.now >= until {
			break
		}
		s := &e.workers[e.random.IntN(len(e.workers))]
		next := heap.Pop(s).(turn)
		p := &e.pods[next.pod]
		heap.Push(s, turn{at: next.at + e.period(next.pod), pod: next.pod})
		p.issued++
		p.active++
		mean := .02
		if next.pod == 2 {
			mean = e.slow
		}
		took := mean * (.5 + .5*e.random.ExpFloat64())
		heap.Push(&e.open, turn{at: e.now + took, pod: next.pod, took: took})
	}
	e.now = until
	e.report()
}

// end has the requests answered that are due. Who times responses reports a third of
// a second before who counts requests.
func (e *envoy) end(until float64) {
	for len(e.open) > 0 && e.open[0].at <= until {
		r := heap.Pop(&e.open).(turn)
		p := &e.pods[r.pod]
		p.active--
		if r.pod == 2 && e.fails {
			p.bad++ // nobody times failures
			continue
		}
		p.ended++
		if r.at-float64(int(r.at)) < 2./3 {
			p.timed, p.tookTimed = p.timed+1, p.tookTimed+r.took
		} else {
			p.later, p.tookLate = p.later+1, p.tookLate+r.took
		}
	}
}

func (e *envoy) report() {
	e.lastIssued = e.pods[2].issued
	now := t0.Add(time.Duration(e.now * float64(time.Second)))
	for i := range e.pods {
		p := &e.pods[i]
		o := weight.Observation{Interval: time.Second, Issued: p.issued, Succeeded: p.ended, Failed: p.bad, InProgress: uint64(p.active), Responses: p.timed}
		if p.timed > 0 {
			o.ResponseTime = time.Duration(p.tookTimed / float64(p.timed) * float64(time.Second))
		}
		e.w.Observe(now, podName(i), o)
		*p = podCounts{active: p.active, timed: p.later, tookTimed: p.tookLate}
	}
	weights, push := e.w.Next(now)
	if e.weights = weights; push {
		e.rebuild()
	}
}

// share is the slow pod's weight relative to a fast one's.
func (e *envoy) share() float64 {
	return float64(e.weights[podName(2)]) / float64(min(e.weights[podName(0)], e.weights[podName(1)]))
}

type turn struct {
	at   float64
	pod  int
	took float64
}

type schedule struct{ turns }
type ends = turns
type turns []turn

func (s turns) Len() int           { return len(s) }
func (s turns) Less(i, j int) bool { return s[i].at < s[j].at }
func (s turns) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *turns) Push(x any)        { *s = append(*s, x.(turn)) }
func (s *turns) Pop() any {
	old := *s
	last := old[len(old)-1]
	*s = old[:len(old)-1]
	return last
}

// A pod made slow and then fast again, or failing and then well, is back above 0.7 of
// the others' weight within ten seconds at any rate of requests, and meanwhile it
// takes no more than about one request a second.
func TestASlowPodIsBackSoon(t *testing.T) {
	for name, ill := range map[string]func(*envoy){
		"200ms":          func(e *envoy) { e.slow = .2 },
		"2s":             func(e *envoy) { e.slow = 2 },
		"fails at once":  func(e *envoy) { e.slow, e.fails = .001, true },
		"fails after 2s": func(e *envoy) { e.slow, e.fails = 2, true },
	} {
		for _, rate := range []float64{20, 70, 500} {
			t.Run(fmt.Sprintf("%s/rate=%v", name, rate), func(t *testing.T) {
				const seeds = 10
				worst, took := 0, 0.0
				for seed := range uint64(seeds) {
					back, got := illAndBack(t, newEnvoy(t, seed, rate), ill)
					took += got / seeds
					worst = max(worst, back)
					if got > 1.75 {
						t.Errorf("seed %d: the ill pod got %.2f requests a second", seed, got)
					}
				}
				t.Logf("back after %d s at worst; meanwhile %.2f requests a second", worst, took)
				if worst > 10 {
					t.Errorf("it took %d s to come back", worst)
				}
				if took > 1.3 {
					t.Errorf("on average the ill pod got %.2f requests a second", took)
				}
			})
		}
	}
}

// illAndBack returns after how many seconds an ill pod's weight is back, and how
// many requests a second it got while it was ill.
func illAndBack(t *testing.T, e *envoy, ill func(*envoy)) (back int, got float64) {
	t.Helper()
	for range 60 {
		e.second()
	}
	ill(e)
	for range 30 {
		e.second()
	}
	if e.share() > .15 {
		t.Fatalf("30 s after it became ill the pod has %.3f of the others' weight", e.share())
	}
	const watched = 60
	for range watched {
		e.second()
		got += float64(e.lastIssued) / watched
	}
	for e.slow, e.fails = .02, false; e.share() < .7; back++ {
		if e.second(); back > 120 {
			t.Fatal("the pod does not come back")
		}
	}
	return back, got
}
