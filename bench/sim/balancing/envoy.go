package simulate

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// envoyRouter is Envoy's LEAST_REQUEST as its source has it: with equal weights
// the less busy of two random hosts; with different ones an earliest-deadline-first
// schedule in which a host comes again after 1 / (weight / (active + 1)).
type envoyRouter struct {
	random  *rand.Rand
	weights []uint32
	active  []int
	hosts   []int // present
	equal   bool
	edf     edf
}

func newEnvoyRouter(s Setting, seed uint64) *envoyRouter {
	r := &envoyRouter{
		random:  rand.New(rand.NewPCG(seed, 3)),
		weights: make([]uint32, s.Pods+1),
		active:  make([]int, s.Pods+1),
	}
	for i := range r.weights {
		r.weights[i] = 1
	}
	return r
}

func (r *envoyRouter) setPods(_ time.Time, present []bool) {
	r.hosts = r.hosts[:0]
	for i, in := range present {
		if in {
			r.hosts = append(r.hosts, i)
		}
	}
	r.rebuild()
}

func (r *envoyRouter) setWeights(weights map[string]uint32) {
	for name, w := range weights {
		r.weights[podIndex(name)] = w
	}
	r.rebuild()
}

// rebuild starts a new schedule, as Envoy does when hosts or weights change, some
// random turns in.
func (r *envoyRouter) rebuild() {
	r.equal = true
	for _, h := range r.hosts {
		r.equal = r.equal && r.weights[h] == r.weights[r.hosts[0]]
	}
	r.edf = edf{}
	for _, h := range r.hosts {
		r.edf.add(h, r.period(h))
	}
	for range r.random.IntN(len(r.hosts)) {
		r.next()
	}
}

func (r *envoyRouter) period(h int) float64 {
	return float64(r.active[h]+1) / float64(r.weights[h])
}

func (r *envoyRouter) next() int {
	h := r.edf.pop()
	r.edf.add(h, r.period(h))
	return h
}

func (r *envoyRouter) route(_ time.Time, _, bound int) (int, func(time.Time, bool, time.Duration), error) {
	switch {
	case bound >= 0:
	case r.equal:
		bound = r.hosts[r.random.IntN(len(r.hosts))]
		if other := r.hosts[r.random.IntN(len(r.hosts))]; r.active[other] < r.active[bound] {
			bound = other
		}
	default:
		bound = r.next()
	}
	r.active[bound]++
	return bound, func(time.Time, bool, time.Duration) { r.active[bound]-- }, nil
}

// edf is an earliest-deadline-first schedule.
type edf struct {
	now     float64
	seq     int
	entries edfHeap
}

type edfEntry struct {
	deadline float64
	seq      int
	host     int
}

func (e *edf) add(host int, period float64) {
	e.seq++
	heap.Push(&e.entries, edfEntry{deadline: e.now + period, seq: e.seq, host: host})
}

func (e *edf) pop() int {
	top := heap.Pop(&e.entries).(edfEntry)
	e.now = top.deadline
	return top.host
}

type edfHeap []edfEntry

func (h edfHeap) Len() int      { return len(h) }
func (h edfHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h edfHeap) Less(i, j int) bool {
	return h[i].deadline < h[j].deadline || h[i].deadline == h[j].deadline && h[i].seq < h[j].seq
}
func (h *edfHeap) Push(x any) { *h = append(*h, x.(edfEntry)) }
func (h *edfHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
