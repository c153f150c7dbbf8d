package balancing

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// latencyTau is the time over which the smoothed response time forgets, in
	// nanoseconds: long enough to average a pod's own noise, short enough to see
	// a neighbour's antagonist come and go.
	latencyTau = float64(2 * time.Second)
	// latencyMinGain keeps a burst of responses at one instant from counting as
	// nothing, and latencyMaxGain one response after a short pause from counting
	// as everything. When what was known has faded, the gain is what faded.
	latencyMinGain = 0.02
	latencyMaxGain = 0.3
	// errorGain is the say of one result in the smoothed error rate: one stray
	// error hardly matters, five in a row rule a pod out.
	errorGain = 0.1
)

// pod is what is known of one pod. It outlives snapshots, so that requests in
// flight on a pod that left still end. The facts a pick reads share a cache line.
type pod struct {
	inFlight   atomic.Int64
	waiting    atomic.Int64 // in flight, and their answer is yet to be told
	sessions   atomic.Int64
	latency    atomic.Uint64 // float64 bits, nanoseconds; 0: no response seen
	peak       atomic.Uint64 // float64 bits, as latency, but rises at once
	errors     atomic.Uint64 // float64 bits, 0 to 1
	learned    atomic.Int64  // when latency or errors were last updated
	unanswered atomic.Int64  // since when it has answered none of the waiting; 0: it has

	answered  atomic.Int64 // last response; 0: never
	mu        sync.Mutex   // serialises updates of the smoothed values, and guards elsewhere
	elsewhere int64        // of inFlight, those that Served told of
	name      string
	_         [24]byte // 128 bytes: no pod shares a cache line with another
}

func loadFloat(a *atomic.Uint64) float64     { return math.Float64frombits(a.Load()) }
func storeFloat(a *atomic.Uint64, f float64) { a.Store(math.Float64bits(f)) }

// sent notes that a request was sent, which begins the wait for an answer unless one is on.
func (p *pod) sent(now int64) {
	if p.waiting.Add(1) == 1 {
		p.unanswered.Store(now) // what was not answered before is not waited for any more
		return
	}
	if p.unanswered.Load() == 0 {
		p.unanswered.CompareAndSwap(0, now)
	}
}

// unwatched notes that a request's answer will not be told.
func (p *pod) unwatched() { p.waiting.Add(-1) }

// answer learns from a request's outcome. Any but an abort is a sign of life.
func (p *pod) answer(now int64, o Outcome, s *snapshot) {
	p.waiting.Add(-1)
	if o.Kind == Aborted {
		return
	}
	if p.unanswered.Load() != 0 {
		p.unanswered.Store(0)
	}
	if o.Kind == Unknown && o.ResponseTime <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	age := now - p.learned.Load()
	left := s.fade(age)
	gain := max(gainAfter(age, latencyTau), 1-left)
	p.observeTime(gain, float64(o.ResponseTime), o.Kind == Failure)
	p.observeError(o.Kind, left)
	p.learned.Store(now)
	p.answered.Store(now)
}

// observeTime moves the smoothed response times. A failure counts only when it
// took longer than a success does: failing fast is not being fast.
func (p *pod) observeTime(gain, took float64, failed bool) {
	latency := loadFloat(&p.latency)
	if took <= 0 || failed && (latency == 0 || took <= latency) {
		return
	}
	if latency == 0 {
		storeFloat(&p.latency, took)
		storeFloat(&p.peak, took)
		return
	}
	storeFloat(&p.latency, latency+gain*(took-latency))
	peak := loadFloat(&p.peak)
	if took > peak {
		storeFloat(&p.peak, took)
		return
	}
	storeFloat(&p.peak, peak+gain*(took-peak))
}

// observeError moves the smoothed error rate, of which left is left since the last
// result.
func (p *pod) observeError(kind OutcomeKind, left float64) {
	rate := left * loadFloat(&p.errors)
	switch kind {
	case Failure:
		rate += errorGain * (1 - rate)
	case Success:
		rate *= 1 - errorGain
	}
	storeFloat(&p.errors, rate)
}

// gainAfter is an exponentially weighted average's gain for an observation that
// comes dt after the one before.
func gainAfter(dt int64, tau float64) float64 {
	gain := 1 - math.Exp(-math.Max(float64(dt), 0)/tau)
	return min(max(gain, latencyMinGain), latencyMaxGain)
}
