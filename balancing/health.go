package balancing

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

// HealthOptions configure a Health.
type HealthOptions struct {
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

// Transition is a pod that became healthy or stopped being so.
type Transition struct {
	Pod     string
	Healthy bool
	// Reason is for logs and reports.
	Reason string
}

// Health decides from probe results which pods are healthy and when to probe
// next; the caller runs the probes. A pod is healthy until it fails
// UnhealthyAfter probes in a row. When every pod fails none is taken out: a
// broken prober, or a dependency that all pods share, must not take a whole
// service down. Health is not safe for concurrent use.
type Health struct {
	opts HealthOptions
	pods map[string]*probed
	out  map[string]bool // the pods taken out
}

// probed is the probe state of one pod.
type probed struct {
	due     time.Time
	probing bool
	probes  uint64 // for the jitter
	run     int    // consecutive results that speak against failing
	failing bool
	doubted bool
}

// NewHealth returns a Health without pods.
func NewHealth(opts HealthOptions) (*Health, error) {
	if opts.Interval <= 0 {
		return nil, fmt.Errorf("health check interval %v is not positive", opts.Interval)
	}
	if opts.UnhealthyAfter < 0 || opts.HealthyAfter < 0 {
		return nil, errors.New("negative health check threshold")
	}
	opts.UnhealthyAfter = max(opts.UnhealthyAfter, 1)
	opts.HealthyAfter = max(opts.HealthyAfter, 1)
	return &Health{opts: opts, pods: map[string]*probed{}, out: map[string]bool{}}, nil
}

// SetPods replaces the set of pods, by name. A pod that stays keeps its state; a
// new one is healthy, and first probed within the interval. The pods that stay
// can change state: the one that kept the rest from all failing may have left.
func (h *Health) SetPods(now time.Time, names []string) []Transition {
	keep := make(map[string]*probed, len(names))
	for _, name := range names {
		p, known := h.pods[name]
		if !known {
			p = &probed{due: now.Add(h.fraction(name, 0, h.opts.Interval))}
		}
		keep[name] = p
	}
	h.pods = keep
	for name := range h.out {
		if _, stays := keep[name]; !stays {
			delete(h.out, name)
		}
	}
	return h.settle("the set of pods changed")
}

// Due returns the pods to probe now, in alphabetical order. Each is not due again
// before its Result.
func (h *Health) Due(now time.Time) []string {
	var due []string
	for name, p := range h.pods {
		if !p.probing && !now.Before(p.due) {
			p.probing = true
			p.probes++
			early := h.fraction(name, p.probes, time.Duration(jitterShare*float64(h.opts.Interval)))
			p.due = now.Add(h.opts.Interval - early)
			due = append(due, name)
		}
	}
	slices.Sort(due)
	return due
}

// Next is when Due has something to return; ok is false when nothing is to come
// before a Result.
func (h *Health) Next() (at time.Time, ok bool) {
	for _, p := range h.pods {
		if !p.probing && (!ok || p.due.Before(at)) {
			at, ok = p.due, true
		}
	}
	return at, ok
}

// Result records a probe's result and returns the pods whose state it changed. A
// pod that is unknown, or is not being probed, is ignored.
func (h *Health) Result(pod string, healthy bool) []Transition {
	p, known := h.pods[pod]
	if !known || !p.probing {
		return nil
	}
	p.probing = false
	doubted := p.doubted
	p.doubted = false
	if healthy != p.failing {
		p.run = 0
		return nil
	}
	p.run++
	if need := h.need(p, doubted); p.run < need {
		return nil
	}
	p.run = 0
	p.failing = !healthy
	if p.failing {
		return h.settle("failed its health checks")
	}
	return h.settle("passed its health checks")
}

// need is the number of consecutive results that change p's state. A pod that
// real requests already spoke against needs only one more witness.
func (h *Health) need(p *probed, doubted bool) int {
	switch {
	case p.failing:
		return h.opts.HealthyAfter
	case doubted:
		return 1
	}
	return h.opts.UnhealthyAfter
}

// Doubt has the pod probed at once, and one failure then takes it out. It is for a
// pod that [Silence] found; an unknown one is ignored.
func (h *Health) Doubt(now time.Time, pod string) {
	if p, known := h.pods[pod]; known && !p.doubted {
		p.doubted = true
		p.due = now
	}
}

// Healthy reports whether the pod may be used; one that is unknown may.
func (h *Health) Healthy(pod string) bool { return !h.out[pod] }

// settle brings the pods taken out in line with those failing, unless all are.
func (h *Health) settle(reason string) []Transition {
	failing := 0
	for _, p := range h.pods {
		if p.failing {
			failing++
		}
	}
	all := failing == len(h.pods)
	var changed []Transition
	for name, p := range h.pods {
		out := p.failing && !all
		if out == h.out[name] {
			continue
		}
		t := Transition{Pod: name, Healthy: !out, Reason: reason}
		if p.failing && all {
			t.Reason = "every pod fails its health checks"
		}
		changed = append(changed, t)
		if out {
			h.out[name] = true
		} else {
			delete(h.out, name)
		}
	}
	slices.SortFunc(changed, func(a, b Transition) int {
		if a.Pod < b.Pod {
			return -1
		}
		return 1
	})
	return changed
}

// fraction is a repeatable random share of d.
func (h *Health) fraction(pod string, n uint64, d time.Duration) time.Duration {
	return time.Duration(unit(mix(xxhash.Sum64String(pod)^mix(h.opts.Seed+n))) * float64(d))
}
