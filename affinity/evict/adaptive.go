package evict

import (
	"fmt"
	"sync/atomic"
)

// The modes of the adaptive strategy.
const (
	// ModeRecency reclaims as lru does.
	ModeRecency = "recency"
	// ModeExpiry reclaims as ttl does.
	ModeExpiry = "expiry"
)

const (
	// The hit rate that decides is 0.5; the band around it keeps the strategy
	// from changing at each small move.
	hitRateLow, hitRateHigh = 0.45, 0.55
	// minLookups is how many lookups a window needs to say anything.
	minLookups = 1000
	// settle is how many windows in a row must agree on a change, except that
	// one is enough to give up expiry when it breaks too many.
	settle = 3
	// crowded is the share of new bindings that evict another above which there
	// are too few expired ones for expiry to make room.
	crowded = 0.5
	// worse is by how much expiry must exceed the broken sessions of recency to
	// be given up, as a factor and as a share of the lookups.
	worseFactor, worseShare = 1.5, 0.005
	// After expiry did worse, recency is kept for firstHold windows at least,
	// and twice as long after each further time.
	firstHold, maxHold = 10, 640
)

// adaptive reclaims by recency while fewer than half of the lookups find their
// binding: then most of what the table holds is of no use to anybody. With more
// it reclaims by expiry, which breaks no session that is bound, unless so few
// expire that it would turn away most new ones. And it goes back to recency if
// the sessions that expiry turned away come back more often than those that
// recency lost.
type adaptive struct {
	expiry atomic.Bool // read by the policies of all shards

	// Of Observe, which is called by one goroutine at a time.
	agreed        int     // windows in a row that asked for the other mode
	recencyBroken float64 // smoothed broken rate under recency
	hold, holding int
}

func newAdaptive() Strategy { return &adaptive{hold: firstHold} }

func (a *adaptive) NewPolicy(room Room) Policy {
	return &adaptivePolicy{lru: newLRU(room), expiry: &a.expiry}
}

// adaptivePolicy keeps the same entries in the same order in both modes, so
// that a change costs nothing.
type adaptivePolicy struct {
	*lru
	expiry *atomic.Bool
}

func (p *adaptivePolicy) Victim(now int64) (*Entry, Reason, error) {
	if !p.expiry.Load() {
		return p.lru.Victim(now)
	}
	e, err := p.expired(now)
	return e, 0, err
}

// Observe decides on the mode; see Adaptive.
func (a *adaptive) Observe(r Rates) (mode, why string) {
	if r.Lookups >= minLookups {
		why = a.consider(r)
	}
	if why != "" {
		a.expiry.Store(!a.expiry.Load())
		a.agreed = 0
	}
	if a.expiry.Load() {
		return ModeExpiry, why
	}
	return ModeRecency, why
}

// consider returns why the mode should change, or "".
func (a *adaptive) consider(r Rates) string {
	want, failed := "", false
	if a.expiry.Load() {
		want, failed = a.againstExpiry(r)
	} else {
		want = a.againstRecency(r)
	}
	if want == "" {
		a.agreed = 0
		return ""
	}
	if a.agreed++; a.agreed < settle && !failed {
		return ""
	}
	if failed {
		a.holding, a.hold = a.hold, min(a.hold*2, maxHold)
	}
	return want
}

func (a *adaptive) againstRecency(r Rates) string {
	a.recencyBroken += (r.BrokenRate() - a.recencyBroken) / 4
	if a.holding > 0 {
		a.holding--
		return ""
	}
	if r.HitRate() < hitRateHigh || share(r.Evicted, r.Inserts) > crowded {
		return ""
	}
	return fmt.Sprintf("hit rate %.2f is at least %.2f, broken rate %.4f", r.HitRate(), hitRateHigh, r.BrokenRate())
}

func (a *adaptive) againstExpiry(r Rates) (why string, failed bool) {
	if limit := a.recencyBroken*worseFactor + worseShare; r.BrokenRate() > limit {
		return fmt.Sprintf("broken rate %.4f is above %.4f", r.BrokenRate(), limit), true
	}
	if r.HitRate() < hitRateLow {
		return fmt.Sprintf("hit rate %.2f is below %.2f", r.HitRate(), hitRateLow), false
	}
	return "", false
}
