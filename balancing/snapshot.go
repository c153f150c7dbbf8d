package balancing

import (
	"iter"
	"math"
	"slices"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing/slowstart"
)

// snapshot is one immutable set of pods. Only what its atomics hold changes.
type snapshot struct {
	strategy Strategy

	// The pods that take new sessions, as parallel slices: a scan that needs one
	// fact reads only that fact.
	pods    []*pod
	weight  []float64 // relative: their mean is 1
	inv     []float64 // 1 / weight
	hash    []uint64  // of the name, for the rendezvous
	joined  []int64   // start of the pod's slow start; 0: none
	even    bool      // all weights are equal
	avoided []*pod    // take new sessions when none of pods has room: they are to be avoided

	all     []statefulroute.Pod // every pod, in the order given
	began   []int64             // of all: start of the pod's slow start; 0: none
	byName  map[string]*pod
	raw     []uint64 // configured weights of pods
	maxConn int64    // caps; 0: none
	maxSess int64
	ramp    float64 // slow start in nanoseconds

	fades   fades
	perStep float64 // entries of fades per nanosecond

	// Aggregates over pods, refreshed every refreshEvery picks so that a pick
	// among thousands need not scan to know what is usual.
	refreshEvery uint64
	meanLoad     atomic.Uint64 // float64 bits, per unit of relative weight
	hotLoad      atomic.Uint64 // float64 bits, the hotQuantile of the same
	meanLatency  atomic.Uint64 // float64 bits, over the pods that answered
}

// fadeSteps is how many entries of fades make one response time window.
const fadeSteps = 32

// newFades tabulates what time leaves of an observation, because a scan asks for
// each pod: a sixteenth after one window.
func newFades() (f fades) {
	for i := range f {
		f[i] = math.Exp2(-4 * float64(i) / fadeSteps)
	}
	return f
}

type fades [4 * fadeSteps]float64

// fade is what is left of an observation of the given age in nanoseconds.
func (s *snapshot) fade(age int64) float64 {
	step := int(float64(age) * s.perStep)
	return s.fades[min(max(step, 0), len(s.fades)-1)]
}

func newSnapshot(old *snapshot, now int64, pods []statefulroute.Pod, opts Options, strategy Strategy) *snapshot {
	s := &snapshot{
		strategy: strategy,
		byName:   make(map[string]*pod, len(pods)),
		maxConn:  int64(opts.MaxConnections),
		maxSess:  int64(opts.MaxSessions),
		ramp:     float64(opts.SlowStart),

		fades:   newFades(),
		perStep: fadeSteps / float64(opts.ResponseTimeWindow),
		even:    true,
	}
	before := old.facts()
	anyPreferred := slices.ContainsFunc(pods, func(p statefulroute.Pod) bool { return p.State.TakesNew() && !p.Avoid })
	for _, fact := range pods {
		if _, twice := s.byName[fact.Name]; twice {
			continue
		}
		p, known := old.byName[fact.Name]
		if !known {
			p = &pod{name: fact.Name}
		}
		var began int64
		if i, was := before[fact.Name]; was && !slowstart.Starts(old.all[i], fact) {
			began = old.began[i]
		} else if old.byName != nil && opts.SlowStart > 0 {
			began = now
		}
		s.all, s.began = append(s.all, fact), append(s.began, began)
		s.byName[fact.Name] = p
		switch {
		case !fact.State.TakesNew():
		case fact.Avoid && anyPreferred:
			s.avoided = append(s.avoided, p)
		default:
			s.add(p, max(uint64(fact.Weight), 1), began)
		}
	}
	s.finish()
	s.refresh()
	return s
}

// facts finds the pods of all by name.
func (s *snapshot) facts() map[string]int {
	m := make(map[string]int, len(s.all))
	for i, fact := range s.all {
		m[fact.Name] = i
	}
	return m
}

func (s *snapshot) add(p *pod, weight uint64, joined int64) {
	s.joined = append(s.joined, joined)
	s.pods = append(s.pods, p)
	s.raw = append(s.raw, weight)
	s.hash = append(s.hash, mix(xxhash.Sum64String(p.name)))
	s.even = s.even && weight == s.raw[0]
}

func (s *snapshot) finish() {
	var sum float64
	for _, w := range s.raw {
		sum += float64(w)
	}
	s.weight, s.inv = make([]float64, len(s.raw)), make([]float64, len(s.raw))
	for i, w := range s.raw {
		s.weight[i] = float64(w) * float64(len(s.raw)) / sum
		s.inv[i] = 1 / s.weight[i]
	}
	s.refreshEvery = max(uint64(len(s.pods))/16, 1)
}

// eligible reports whether pod i has room under the caps.
func (s *snapshot) eligible(i int) bool {
	return (s.maxConn == 0 || s.pods[i].inFlight.Load() < s.maxConn) &&
		(s.maxSess == 0 || s.pods[i].sessions.Load() < s.maxSess)
}

// admit counts a request in flight on a pod unless a cap forbids it. The count
// comes first, so that concurrent picks cannot pass the cap together.
func (s *snapshot) admit(p *pod) bool {
	if s.maxSess != 0 && p.sessions.Load() >= s.maxSess {
		return false
	}
	if n := p.inFlight.Add(1); s.maxConn != 0 && n > s.maxConn {
		p.inFlight.Add(-1)
		return false
	}
	return true
}

// admitAny admits on the first pod with room from a random one on, nil if none has.
func (s *snapshot) admitAny(random uint64) *pod {
	for _, pods := range [][]*pod{s.pods, s.avoided} {
		for i, n := 0, len(pods); i < n; i++ {
			if p := pods[(below(random, n)+i)%n]; s.admit(p) {
				return p
			}
		}
	}
	return nil
}

// noPods explains why pods were left out.
func (s *snapshot) noPods() error {
	shown := min(len(s.all), mostLeftOut)
	e := &NoPodsError{LeftOut: make([]LeftOut, 0, shown), More: len(s.all) - shown}
	for _, fact := range s.all[:shown] {
		reason := fact.State.String()
		switch p := s.byName[fact.Name]; {
		case !fact.State.TakesNew():
		case s.maxSess != 0 && p.sessions.Load() >= s.maxSess:
			reason = "max_sessions reached"
		default:
			reason = "max_connections reached"
		}
		e.LeftOut = append(e.LeftOut, LeftOut{Pod: fact.Name, Reason: reason})
	}
	return e
}

// refresh recomputes the aggregates. Concurrent refreshes only repeat work.
func (s *snapshot) refresh() {
	if len(s.pods) == 0 {
		return
	}
	storeFloat(&s.meanLatency, s.usual(loadFloat(&s.meanLatency), func(i int) (float64, bool) {
		l := loadFloat(&s.pods[i].latency)
		return l, l > 0
	}))
	load := s.usual(loadFloat(&s.meanLoad), func(i int) (float64, bool) {
		return float64(s.pods[i].inFlight.Load()) * s.inv[i], true
	})
	storeFloat(&s.meanLoad, load)
	storeFloat(&s.hotLoad, s.quantile(load, hotQuantile))
}

// outlier is how many times the mean a pod's figure may be and still count in it.
const outlier = 3

// usual is the mean of what the pods have, without those that have more than
// outlier times the usual of before: one pod with a long queue must not make the
// rest look idle. When that leaves less than half of them, it is the mean of all.
func (s *snapshot) usual(before float64, of func(i int) (x float64, ok bool)) float64 {
	var sum, n, sumAll, all float64
	for i := range s.pods {
		x, ok := of(i)
		if !ok {
			continue
		}
		sumAll += x
		all++
		if x <= outlier*before {
			sum += x
			n++
		}
	}
	switch {
	case all == 0:
		return 0
	case 2*n < all:
		return sumAll / all
	}
	return sum / n
}

// quantile estimates the q-quantile of in-flight per weight with a histogram
// whose bins are a sixteenth of the mean wide.
func (s *snapshot) quantile(mean, q float64) float64 {
	const bins, perMean = 128, 16
	if mean == 0 {
		return 0
	}
	var hist [bins]uint32
	for i, p := range s.pods {
		x := float64(p.inFlight.Load()) * s.inv[i] / mean * perMean
		hist[int(min(max(x, 0), bins-1))]++
	}
	left := uint32(math.Ceil(q * float64(len(s.pods))))
	for i, n := range &hist {
		if n >= left {
			return float64(i+1) / perMean * mean
		}
		left -= n
	}
	return math.Inf(1)
}

// from yields the pods in two parts, each with the index of its first: those from
// start on, then those before. A scan that starts at a random pod shares the work
// among equals.
func (s *snapshot) from(start int) iter.Seq2[int, []*pod] {
	return func(yield func(int, []*pod) bool) {
		if yield(start, s.pods[start:]) {
			yield(0, s.pods[:start])
		}
	}
}
