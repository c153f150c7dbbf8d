package health

import (
	"cmp"
	"slices"
	"time"
)

// judge is one question about the pods, such as whether they can be reached, and
// what their probes answered to it.
type judge struct {
	checker *Checker
	other   *judge
	// failed and passed are the reasons for which pods go and come back.
	failed, passed string

	order []*judged        // by name
	held  map[*judged]bool // failing, and in use for want of a healthy peer
	// unsettled says that a pod has changed in a way that may concern others, be it for
	// the other judge, and review is when time alone will; zero: never.
	unsettled bool
	review    time.Time
}

// judged is what a judge thinks of a pod.
type judged struct {
	*probed
	other *judged // what the other judge thinks of it

	// What the latest results say; zero: no.
	passed      time.Time // the latest probe passed, and began then
	firstFailed time.Time // the first of the present run of failures
	lastFailed  time.Time

	run     int // consecutive results that speak against failing
	failing bool
	out     bool

	flapping
}

// setPods replaces the pods.
func (h *judge) setPods(order []*probed, of func(*probed) *judged) {
	h.order = h.order[:0]
	for _, p := range order {
		h.order = append(h.order, of(p))
	}
	for p := range h.held {
		if h.checker.pods[p.name] != p.probed {
			delete(h.held, p)
		}
	}
	h.unsettled = true
}

// readmit takes a pod back that is out, for there is none in its stead.
func (h *judge) readmit(p *judged) {
	if p.out {
		p.out, h.held[p] = false, true
		h.unsettled, h.other.unsettled = true, true
	}
}

// result records a probe's result and returns the pods that are taken out for it.
func (h *judge) result(now time.Time, p *judged, passed bool) []*probed {
	turned := p.record(now, passed, h.checker.opts)
	unstable := p.note(now, passed)
	h.unsettled = h.unsettled || turned || unstable
	switch {
	case passed && p.failing:
	case passed:
		delete(h.held, p)
		return h.settleHeld(now, p)
	case turned && !p.out:
		return h.turned(now, p)
	}
	return nil
}

// record records a result and reports whether it turned p to failing or back.
func (p *judged) record(now time.Time, healthy bool, opts Options) (turned bool) {
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
func (p *judged) need(opts Options) int {
	if p.failing {
		return opts.HealthyAfter
	}
	return opts.UnhealthyAfter
}

// turned takes p out beside a healthy peer, and looks for one when there is none.
func (h *judge) turned(now time.Time, p *judged) []*probed {
	for _, q := range h.order {
		if q.healthyPeerOf(p) && h.mayEject(now, p) {
			return []*probed{h.eject(now, p)}
		}
	}
	h.held[p] = true
	h.probePeers(now, p)
	return nil
}

func (h *judge) eject(now time.Time, p *judged) *probed {
	delete(h.held, p)
	p.out, p.avoided = true, false
	h.unsettled, h.other.unsettled = true, true
	p.countEjection(now)
	h.markUnstable(now)
	return p.probed
}

// settleHeld decides on the failing pods that are held in service, now that p has
// passed. If p failed at the same time as they did, the fault may be one that all
// shared and that is just ending: they get as many probes as a pod that begins to
// fail.
func (h *judge) settleHeld(now time.Time, p *judged) []*probed {
	var changed []*probed
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
	slices.SortFunc(changed, func(a, b *probed) int { return cmp.Compare(a.name, b.name) })
	return changed
}

// healthyPeerOf reports whether p shows that q's failures are q's own: p is in
// service, and since the first of them a probe of it began and passed and none
// failed. One that the other judge has taken out could not take over.
func (p *judged) healthyPeerOf(q *judged) bool {
	return p != q && p.inService && !p.other.out && !p.failing &&
		!p.passed.Before(q.firstFailed) && p.lastFailed.Before(q.firstFailed)
}

// peersProbed is how many pods are probed at once to find one that speaks against a
// failing pod. More would only matter when several fail, and make a burst of
// probes in a large service.
const peersProbed = 3

// probePeers has a few pods probed at once that passed before p first failed, or p
// would wait for their next turn.
func (h *judge) probePeers(now time.Time, p *judged) {
	first, _ := slices.BinarySearchFunc(h.order, p.name, func(q *judged, name string) int { return cmp.Compare(q.name, name) })
	asked := 0
	for i := range h.order {
		q := h.order[(first+1+i)%len(h.order)]
		if asked == peersProbed {
			return
		}
		if q == p || !q.inService || q.other.out || q.failing || !q.firstFailed.IsZero() {
			continue
		}
		asked++
		if !q.probing() || q.began.Before(p.firstFailed) {
			h.checker.probeNow(now, q.probed)
		}
	}
}
