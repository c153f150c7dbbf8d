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

// Outcome is what one probe found.
type Outcome uint8

const (
	// Passed is the answer of a pod that is well.
	Passed Outcome = iota
	// Failed is another answer than that, or none in time, of a pod that was there.
	Failed
	// Unreachable is a pod that accepted no connection.
	Unreachable
)

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
// take a service down pod by pod.
//
// Whether pods can be reached is judged apart in the same way: where all fail, but
// only some refuse connections, those are taken out beside pods that do not. Where
// none can be reached, it may be the prober that is cut off, and all stay.
//
// A Checker is not safe for concurrent use.
type Checker struct {
	opts  Options
	pods  map[string]*probed
	queue probeQueue
	// To reach, a probe has passed as soon as the pod was there.
	reach, answers *judge
}

// probed is one pod: when it is probed, and what is thought of it.
type probed struct {
	name      string
	inService bool

	due    time.Time
	place  int // in the queue; -1 while it is being probed
	began  time.Time
	again  bool   // to be probed once more as soon as the present probe is over
	probes uint64 // for the jitter

	reach, answers judged
	told           Transition // the latest
}

func newProbed(name string) *probed {
	p := &probed{name: name, told: Transition{Pod: name, Healthy: true}}
	p.reach.probed, p.reach.other = p, &p.answers
	p.answers.probed, p.answers.other = p, &p.reach
	return p
}

func (p *probed) usable() bool { return !p.reach.out && !p.answers.out }

func (p *probed) avoid() bool { return p.usable() && (p.reach.avoided || p.answers.avoided) }

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
	h := &Checker{opts: opts, pods: map[string]*probed{}}
	h.reach = &judge{checker: h, held: map[*judged]bool{}, failed: "refuses connections, and others do not", passed: "accepts connections again"}
	h.answers = &judge{checker: h, held: map[*judged]bool{}, failed: "failed its health checks", passed: "passed its health checks"}
	h.reach.other, h.answers.other = h.answers, h.reach
	return h, nil
}

// SetPods replaces the set of pods, by name. A pod that stays keeps its state; a
// new one is first probed within the interval. The pods that stay can change
// state: the last one that was not out may have left.
func (h *Checker) SetPods(now time.Time, pods []Pod) []Transition {
	keep := make(map[string]*probed, len(pods))
	var order []*probed
	for _, fact := range pods {
		p, known := h.pods[fact.Name]
		if !known {
			p = newProbed(fact.Name)
			p.due = now.Add(h.fraction(fact.Name, 0, h.opts.Interval))
			if fact.Down {
				p.answers.failing, p.answers.out, p.told.Healthy = true, true, false
				p.answers.firstFailed, p.answers.lastFailed = now, now
			}
		}
		if p.inService = fact.InService; keep[fact.Name] == nil {
			keep[fact.Name] = p
			order = append(order, p)
		}
	}
	h.pods = keep
	slices.SortFunc(order, func(a, b *probed) int { return cmp.Compare(a.name, b.name) })
	h.queue = h.queue[:0]
	for _, p := range order {
		if !p.probing() {
			p.place = len(h.queue)
			h.queue = append(h.queue, p)
		}
	}
	heap.Init(&h.queue)
	h.reach.setPods(order, func(p *probed) *judged { return &p.reach })
	h.answers.setPods(order, func(p *probed) *judged { return &p.answers })
	changed := h.settle(now)
	h.readmit(order)
	return h.tell(append(changed, order...), "every pod fails its health checks")
}

// readmit takes pods in service back when all of them are out: those that can be
// reached, or, where none can, all.
func (h *Checker) readmit(order []*probed) {
	var reached, all []*probed
	for _, p := range order {
		switch {
		case !p.inService:
			continue
		case p.usable():
			return
		case !p.reach.out:
			reached = append(reached, p)
		}
		all = append(all, p)
	}
	if len(reached) > 0 {
		all = reached
	}
	for _, p := range all {
		h.reach.readmit(&p.reach)
		h.answers.readmit(&p.answers)
	}
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
func (h *Checker) Result(now time.Time, pod string, found Outcome) []Transition {
	p, known := h.pods[pod]
	if !known || !p.probing() {
		return nil
	}
	if p.again {
		p.due, p.again = now, false
	}
	heap.Push(&h.queue, p)
	changed := h.reach.result(now, &p.reach, found != Unreachable)
	changed = append(changed, h.answers.result(now, &p.answers, found == Passed)...)
	return h.tell(append(changed, h.settle(now)...), "")
}

// settle has both judges look whether what they decided before still holds.
func (h *Checker) settle(now time.Time) []*probed {
	return append(h.reach.settle(now), h.answers.settle(now)...)
}

// tell returns what differs now from what was told last of the pods.
func (h *Checker) tell(pods []*probed, reason string) []Transition {
	var changed []Transition
	for _, p := range pods {
		t := Transition{Pod: p.name, Healthy: p.usable(), WasHealthy: p.told.Healthy, Avoid: p.avoid()}
		if t.Healthy == p.told.Healthy && t.Avoid == p.told.Avoid {
			continue
		}
		t.Reason = cmp.Or(reason, h.reason(p))
		p.told = t
		changed = append(changed, t)
	}
	return changed
}

// reason words why p is what it is now, and was not before.
func (h *Checker) reason(p *probed) string {
	back := h.answers.passed
	if p.answers.failing {
		back = h.reach.passed
	}
	switch {
	case p.answers.out:
		return h.answers.failed
	case p.reach.out:
		return h.reach.failed
	case !p.told.Healthy && p.avoid():
		return back + "; new sessions avoid it for a while"
	case !p.told.Healthy:
		return back
	case p.avoid():
		return "fails on and off; new sessions avoid it for a while"
	}
	return "new sessions need not avoid it any more"
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
	for _, v := range []*judged{&p.reach, &p.answers} {
		if !v.failing {
			v.run = h.opts.UnhealthyAfter - 1
		}
	}
	h.probeNow(now, p)
}

// Healthy reports whether the pod may be used; one that is unknown may.
func (h *Checker) Healthy(pod string) bool {
	p, known := h.pods[pod]
	return !known || p.usable()
}

// Avoided reports whether new sessions had better go to other pods.
func (h *Checker) Avoided(pod string) bool {
	p, known := h.pods[pod]
	return known && p.avoid()
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
