package health

import (
	"slices"
	"time"
)

const (
	// A pod that failed within the last longUnstable is unstable for shortUnstable when
	// another is taken out, and when it is itself taken back: one that flaps fails
	// again before that. A pod that was the only one to fail is not unstable when it
	// is taken back for the first time; the second time it is so for longUnstable.
	shortUnstable = 10 * time.Second
	longUnstable  = time.Minute
	// A pod that began to fail manyFailures times within failuresWithin is unstable for
	// longUnstable, whether or not it was taken out.
	manyFailures   = 3
	failuresWithin = 30 * time.Second
	// ejectionTime is how long a pod stays out that is taken out a second time although
	// it passes again; a third time it is twice as long, and so on.
	ejectionTime = 30 * time.Second
	// forgiveAfter is the time in good health for which one ejection is forgotten,
	// and maxEjections bounds how many of them prolong the next.
	forgiveAfter = time.Minute
	maxEjections = 11
	// ejectAnyway is how long a pod must have failed all its probes to be taken out
	// although there is no better place for its sessions. Pods that flap are back
	// before that.
	ejectAnyway = 5 * time.Second
	// Unstable pods are avoided and kept out while quorum × stable ≥ all, of the pods
	// in service.
	quorum = 4
)

// flapping is what is known of a pod that fails on and off.
type flapping struct {
	broke     time.Time                   // it has failed each probe since; zero: the latest passed
	failures  [manyFailures - 1]time.Time // when it began to fail the last times, the oldest first
	ejections int                         // times it was taken out, less those forgiven
	good      time.Time                   // it has been in good health since, or forgiven since
	until     time.Time                   // it stays out until then
	unstable  time.Time                   // it is unstable until then
	avoided   bool                        // as was told
}

// note records a probe's result and reports whether it made the pod unstable.
func (f *flapping) note(now time.Time, healthy bool) (unstable bool) {
	if healthy {
		f.broke = time.Time{}
		return false
	}
	f.forgive(now)
	f.good = now
	if !f.broke.IsZero() {
		return false
	}
	f.broke = now
	first := f.failures[0]
	copy(f.failures[:], f.failures[1:])
	f.failures[len(f.failures)-1] = now
	if first.IsZero() || now.Sub(first) > failuresWithin {
		return false
	}
	f.unstable = now.Add(longUnstable)
	return true
}

// forgive forgets an ejection for each minute in good health.
func (f *flapping) forgive(now time.Time) {
	minutes := int(now.Sub(f.good) / forgiveAfter)
	if f.good.IsZero() || minutes <= 0 {
		return
	}
	f.ejections = max(f.ejections-minutes, 0)
	f.good = f.good.Add(time.Duration(minutes) * forgiveAfter)
}

// countEjection records that the pod is taken out: until the next probe that passes
// the first time, and for ejectionTime longer each time after.
func (f *flapping) countEjection(now time.Time) {
	f.ejections = min(f.ejections+1, maxEjections)
	f.until = now.Add(time.Duration(f.ejections-1) * ejectionTime)
}

// markUnstable is called when a pod is taken out: its sessions should not go to one
// that is next, so those that failed lately and pass again are unstable.
func (h *judge) markUnstable(now time.Time) {
	for _, p := range h.order {
		if p.firstFailed.IsZero() && p.failedLately(now) && p.unstable.Before(now.Add(shortUnstable)) {
			p.unstable = now.Add(shortUnstable)
		}
	}
}

func (f *flapping) failedLately(now time.Time) bool {
	last := f.failures[len(f.failures)-1]
	return !last.IsZero() && now.Sub(last) < longUnstable
}

// rejoin records that a pod is taken back.
func (h *judge) rejoin(now time.Time, f *judged) {
	f.good = now
	long := time.Duration(0)
	switch {
	case f.ejections > 1:
		long = longUnstable
	case slices.ContainsFunc(h.order, func(p *judged) bool { return p != f && p.ejections > 0 && p.failedLately(now) }):
		long = shortUnstable
	}
	if end := now.Add(long); end.After(f.unstable) {
		f.unstable = end
	}
}

func (f *flapping) unstableAt(now time.Time) bool { return now.Before(f.unstable) }

// takesOver reports whether the pod may be given the sessions of others, as far as
// what was decided before says.
func (p *judged) takesOver() bool { return !p.out && !p.other.out && !p.other.avoided }

// mayEject reports whether there is a better place for the sessions of a pod that
// fails its checks, or it has failed for so long that any other is better.
func (h *judge) mayEject(now time.Time, p *judged) bool {
	if now.Sub(p.broke) >= ejectAnyway {
		return true
	}
	if p.unstableAt(now) && !h.enoughStable(now) {
		return false
	}
	return h.passing(now) // p is none of them
}

// passing reports whether a pod in service is stable and passed its latest probe.
func (h *judge) passing(now time.Time) bool {
	return slices.ContainsFunc(h.order, func(p *judged) bool {
		return p.inService && p.takesOver() && p.firstFailed.IsZero() && !p.unstableAt(now)
	})
}

// enoughStable reports whether quorum × stable ≥ all.
func (h *judge) enoughStable(now time.Time) bool {
	stable, all := 0, 0
	for _, p := range h.order {
		if !p.inService {
			continue
		}
		all++
		if p.takesOver() && !p.failing && !p.unstableAt(now) {
			stable++
		}
	}
	return stable > 0 && quorum*stable >= all
}

// settle takes pods back that pass and have been out for long enough, says which are
// to be avoided, and returns those of which either is new. It looks at all pods, but
// only when one has changed or when it said it would.
func (h *judge) settle(now time.Time) []*probed {
	if !h.unsettled && (h.review.IsZero() || now.Before(h.review)) {
		return nil
	}
	h.unsettled, h.review = false, time.Time{}
	enoughStable, passing := h.enoughStable(now), h.passing(now)
	var changed []*probed
	for _, p := range h.order {
		out, avoided := p.out, p.avoided
		if p.out && !p.failing && p.firstFailed.IsZero() && !h.keptOut(now, p, enoughStable) {
			p.out = false
			h.rejoin(now, p)
		}
		p.avoided = h.toAvoid(now, p, passing) && enoughStable && !p.out
		if p.out != out || p.avoided != avoided {
			changed = append(changed, p.probed)
		}
	}
	h.other.unsettled = h.other.unsettled || len(changed) > 0
	return changed
}

// toAvoid reports whether a pod is unstable or, where others pass, failed its latest
// probe.
func (h *judge) toAvoid(now time.Time, p *judged, passing bool) bool {
	switch {
	case p.unstableAt(now):
		h.reviewAt(p.unstable)
		return true
	case passing && !p.firstFailed.IsZero():
		h.reviewAt(now.Add(h.checker.opts.Interval))
		return true
	}
	return false
}

// keptOut reports whether a pod that passes its checks stays out all the same.
func (h *judge) keptOut(now time.Time, p *judged, enoughStable bool) bool {
	if !enoughStable || !now.Before(p.until) {
		return false
	}
	h.reviewAt(p.until)
	return true
}

// reviewAt has settle look again at the latest then.
func (h *judge) reviewAt(at time.Time) {
	if h.review.IsZero() || at.Before(h.review) {
		h.review = at
	}
}
