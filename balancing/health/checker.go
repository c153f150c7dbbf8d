package health

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Options configure a Checker.
type Options struct {
	// Interval is the longest pause between two probes of a pod; it must be
	// positive. Jitter only shortens it, so that thresholds × interval is a bound.
	Interval time.Duration
	// UnhealthyAfter and HealthyAfter are the consecutive results that change a
	// pod's state; 0 means 1.
	UnhealthyAfter int
	HealthyAfter   int
	// Seed spreads the probes of different processes.
	Seed uint64
}

// jitterShare is how much of the interval the jitter may take away.
const jitterShare = 0.1

// Pod is a pod to be judged.
type Pod struct {
	Name string
	// InService is false for a pod that an operator drains or took out. It is
	// judged too, but says nothing about whether the others could be spared.
	InService bool
	// Down is what was believed of a pod before this Checker knew it: it then has to
	// pass its checks first. Of a pod that is known, it is ignored.
	Down bool
}

// Transition is a pod that became healthy or stopped being so, or is to be avoided
// from now on or no more.
type Transition struct {
	Pod     string
	Healthy bool
	// WasHealthy differs from Healthy unless only Avoid changed.
	WasHealthy bool
	// Avoid says that new sessions had better go elsewhere.
	Avoid bool
	// Reason is for logs and reports.
	Reason string
}

// Checker decides from probe results which pods are healthy and when to probe
// next; the caller runs the probes. A pod is healthy until it fails UnhealthyAfter
// probes in a row, and it is taken out only beside a healthy peer: another pod in
// service of which a probe began after the first of these failures and passed. What
// fails for all pods at once, a prober or something that all of them need, must not
// take a service down pod by pod. A Checker is not safe for concurrent use.
type Checker struct {
	opts  Options
	pods  map[string]*probed
	order []*probed // by name
	queue probeQueue
	held  map[*probed]bool // failing, and in use for want of a healthy peer
	// unsettled says that a pod has changed in a way that may concern others, and
	// review is when time alone will; zero: never.
	unsettled bool
	review    time.Time
}

// probed is the probe state of one pod.
type probed struct {
	name      string
	inService bool

	due    time.Time
	place  int // in the queue; -1 while it is being probed
	began  time.Time
	again  bool   // to be probed once more as soon as the present probe is over
	probes uint64 // for the jitter

	// What the latest results say; zero: no.
	passed      time.Time // the latest probe passed, and began then
	firstFailed time.Time // the first of the present run of failures
	lastFailed  time.Time

	run     int // consecutive results that speak against failing
	failing bool
	out     bool

	flapping
}

// New returns a Checker without pods.
func New(opts Options) (*Checker, error) {
	if opts.Interval <= 0 {
		return nil, fmt.Errorf("health check interval %v is not positive", opts.Interval)
	}
	if opts.UnhealthyAfter < 0 || opts.HealthyAfter < 0 {
		return nil, errors.New("negative health check threshold")
	}
	opts.UnhealthyAfter = max(opts.UnhealthyAfter, 1)
	opts.HealthyAfter = max(opts.HealthyAfter, 1)
	return &Checker{opts: opts, pods: map[string]*probed{}, held: map[*probed]bool{}}, nil
}

// SetPods replaces the set of pods, by name. A pod that stays keeps its state; a
// new one is first probed within the interval. The pods that stay can change
// state: the last one that was not out may have left.
func (h *Checker) SetPods(now time.Time, pods []Pod) []Transition {
	keep := make(map[string]*probed, len(pods))
	h.order, h.queue = h.order[:0], h.queue[:0]
	for _, fact := range pods {
		p, known := h.pods[fact.Name]
		if !known {
			p = &probed{name: fact.Name, due: now.Add(h.fraction(fact.Name, 0, h.opts.Interval))}
			if p.failing, p.out = fact.Down, fact.Down; fact.Down {
				p.firstFailed, p.lastFailed = now, now
			}
		}
		if p.inService = fact.InService; keep[fact.Name] == nil {
			keep[fact.Name] = p
			h.order = append(h.order, p)
		}
	}
	h.pods = keep
	slices.SortFunc(h.order, func(a, b *probed) int { return cmp.Compare(a.name, b.name) })
	for _, p := range h.order {
		if !p.probing() {
			p.place = len(h.queue)
			h.queue = append(h.queue, p)
		}
	}
	heap.Init(&h.queue)
	for p := range h.held {
		if keep[p.name] != p {
			delete(h.held, p)
		}
	}
	h.unsettled = true
	return append(h.settle(now), h.readmit()...)
}

// readmit takes every pod in service back when all of them are out.
func (h *Checker) readmit() []Transition {
	var changed []Transition
	for _, p := range h.order {
		switch {
		case p.inService && !p.out:
			return nil
		case p.inService:
			changed = append(changed, Transition{Pod: p.name, Healthy: true, Reason: "every pod fails its health checks"})
		}
	}
	for _, t := range changed {
		p := h.pods[t.Pod]
		p.out, h.held[p] = false, true
	}
	return changed
}

// Due returns the pods to probe now, in alphabetical order. Each is not due again
// before its Result.
func (h *Checker) Due(now time.Time) []string {
	var due []string
	for len(h.queue) > 0 && !now.Before(h.queue[0].due) {
		p := heap.Pop(&h.queue).(*probed)
		p.began = now
		p.probes++
		early := h.fraction(p.name, p.probes, time.Duration(jitterShare*float64(h.opts.Interval)))
		p.due = now.Add(h.opts.Interval - early)
		due = append(due, p.name)
	}
	slices.Sort(due)
	return due
}

// Next is when Due has something to return; ok is false when nothing is to come
// before a Result.
func (h *Checker) Next() (at time.Time, ok bool) {
	if len(h.queue) == 0 {
		return time.Time{}, false
	}
	return h.queue[0].due, true
}

// Result records a probe's result and returns the pods whose state it changed. A
// pod that is unknown, or is not being probed, is ignored.
func (h *Checker) Result(now time.Time, pod string, healthy bool) []Transition {
	p, known := h.pods[pod]
	if !known || !p.probing() {
		return nil
	}
	if p.again {
		p.due, p.again = now, false
	}
	heap.Push(&h.queue, p)
	turned := p.judge(now, healthy, h.opts)
	unstable := p.note(now, healthy)
	h.unsettled = h.unsettled || turned || unstable
	var changed []Transition
	switch {
	case healthy && p.failing:
	case healthy:
		delete(h.held, p)
		changed = h.settleHeld(now, p)
	case turned && !p.out:
		changed = h.failed(now, p)
	}
	return append(changed, h.settle(now)...)
}

// judge records a result and reports whether it turned p to failing or back.
func (p *probed) judge(now time.Time, healthy bool, opts Options) (turned bool) {
	if healthy {
		p.passed, p.firstFailed = p.began, time.Time{}
	} else {
		p.passed, p.lastFailed = time.Time{}, now
		if p.firstFailed.IsZero() {
			p.firstFailed = now
		}
	}
	if healthy != p.failing {
		p.run = 0
		return false
	}
	p.run++
	if p.run < p.need(opts) {
		return false
	}
	p.run = 0
	p.failing = !healthy
	return true
}

// need is the number of consecutive results that change p's state.
func (p *probed) need(opts Options) int {
	if p.failing {
		return opts.HealthyAfter
	}
	return opts.UnhealthyAfter
}

// failed takes p out beside a healthy peer, and looks for one when there is none.
func (h *Checker) failed(now time.Time, p *probed) []Transition {
	for _, q := range h.order {
		if q.healthyPeerOf(p) && h.mayEject(now, p) {
			return []Transition{h.eject(now, p)}
		}
	}
	h.held[p] = true
	h.probePeers(now, p)
	return nil
}

func (h *Checker) eject(now time.Time, p *probed) Transition {
	delete(h.held, p)
	p.out, p.avoided, h.unsettled = true, false, true
	p.countEjection(now)
	h.markUnstable(now)
	return Transition{Pod: p.name, WasHealthy: true, Reason: "failed its health checks"}
}

// settleHeld decides on the failing pods that are held in service, now that p has
// passed. If p failed at the same time as they did, the fault may be one that all
// shared and that is just ending: they get as many probes as a pod that begins to
// fail.
func (h *Checker) settleHeld(now time.Time, p *probed) []Transition {
	var changed []Transition
	for q := range h.held {
		switch {
		case p.healthyPeerOf(q):
			if h.mayEject(now, q) {
				changed = append(changed, h.eject(now, q))
			}
		case p.inService && !p.lastFailed.Before(q.firstFailed):
			q.failing, q.run, q.firstFailed = false, 0, time.Time{}
			delete(h.held, q)
		}
	}
	slices.SortFunc(changed, func(a, b Transition) int { return cmp.Compare(a.Pod, b.Pod) })
	return changed
}

// healthyPeerOf reports whether p shows that q's failures are q's own: p is in
// service, and since the first of them a probe of it began and passed and none
// failed.
func (p *probed) healthyPeerOf(q *probed) bool {
	return p != q && p.inService && !p.failing &&
		!p.passed.Before(q.firstFailed) && p.lastFailed.Before(q.firstFailed)
}

// peersProbed is how many pods are probed at once to find one that speaks against a
// failing pod. More would only matter when several fail, and make a burst of
// probes in a large service.
const peersProbed = 3

// probePeers has a few pods probed at once that passed before p first failed, or p
// would wait for their next turn.
func (h *Checker) probePeers(now time.Time, p *probed) {
	first, _ := slices.BinarySearchFunc(h.order, p.name, func(q *probed, name string) int { return cmp.Compare(q.name, name) })
	asked := 0
	for i := range h.order {
		q := h.order[(first+1+i)%len(h.order)]
		if asked == peersProbed {
			return
		}
		if q == p || !q.inService || q.failing || !q.firstFailed.IsZero() {
			continue
		}
		asked++
		if !q.probing() || q.began.Before(p.firstFailed) {
			h.probeNow(now, q)
		}
	}
}

// probeNow has p probed now, or right after the probe that is under way.
func (h *Checker) probeNow(now time.Time, p *probed) {
	if p.probing() {
		p.again = true
		return
	}
	if now.Before(p.due) {
		p.due = now
		heap.Fix(&h.queue, p.place)
	}
}

// Suspect has the pod probed at once; where that fails, requests have already said
// the rest, and it is taken out. It is for a pod that a [PassiveCheck] found; an
// unknown one is ignored.
func (h *Checker) Suspect(now time.Time, pod string) {
	p, known := h.pods[pod]
	if !known {
		return
	}
	if !p.failing {
		p.run = h.opts.UnhealthyAfter - 1
	}
	h.probeNow(now, p)
}

// Healthy reports whether the pod may be used; one that is unknown may.
func (h *Checker) Healthy(pod string) bool {
	p, known := h.pods[pod]
	return !known || !p.out
}

// Avoided reports whether new sessions had better go to other pods.
func (h *Checker) Avoided(pod string) bool {
	p, known := h.pods[pod]
	return known && p.avoided
}

// fraction is a repeatable random share of d.
func (h *Checker) fraction(pod string, n uint64, d time.Duration) time.Duration {
	return time.Duration(rand.New(rand.NewPCG(xxhash.Sum64String(pod)^h.opts.Seed, n)).Float64() * float64(d))
}

func (p *probed) probing() bool { return p.place < 0 }

// probeQueue is a heap of the pods not being probed, by when they are due.
type probeQueue []*probed

func (q probeQueue) Len() int           { return len(q) }
func (q probeQueue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q probeQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}
func (q *probeQueue) Push(x any) {
	p := x.(*probed)
	p.place = len(*q)
	*q = append(*q, p)
}
func (q *probeQueue) Pop() any {
	old := *q
	p := old[len(old)-1]
	old[len(old)-1] = nil
	p.place = -1
	*q = old[:len(old)-1]
	return p
}
