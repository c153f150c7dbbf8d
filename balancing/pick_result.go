package balancing

import (
	"sync/atomic"
	"time"
)

// OutcomeKind says how a request ended.
type OutcomeKind uint8

const (
	// Unknown means the response was not looked at: the request only leaves the
	// in-flight count.
	Unknown OutcomeKind = iota
	// Success is a response that is not the pod's fault.
	Success
	// Failure is a response that is (5xx), a reset or a timeout.
	Failure
	// Aborted means that the client went away; it says nothing about the pod.
	Aborted
)

// Outcome is what was seen of a request when it was answered, or ended.
type Outcome struct {
	Kind OutcomeKind
	// ResponseTime is from sending the request to the response headers; 0 means
	// not seen.
	ResponseTime time.Duration
}

// PickResult is a request in flight on a pod. It is a small value that may be copied;
// the zero PickResult is on no pod.
type PickResult struct {
	f   *flight
	pod *pod
	gen uint64
}

// flight is the shared part of a result's copies. It is reused; gen tells the
// results of its present use from those of earlier ones, which is how a second
// Done is found harmless without an allocation for each request.
type flight struct {
	gen   atomic.Uint64 // a result's own: waiting; one more: settled; two more: ended
	b     *Balancer
	shard *shard
}

// result makes the result of a request that is already counted in flight on p.
func (f *flight) result(p *pod, now int64) PickResult {
	p.sent(now)
	return PickResult{f: f, pod: p, gen: f.gen.Load()}
}

// Pod returns the name of the result's pod, "" for the zero PickResult.
func (r PickResult) Pod() string {
	if r.pod == nil {
		return ""
	}
	return r.pod.name
}

// Answered says that the pod's response began, which for a stream is long before
// it ends: the balancer learns from the outcome now, and the request stays in
// flight until Done. Only the first of Answered, Unwatched and Done teaches.
func (r PickResult) Answered(now time.Time, o Outcome) {
	if r.settle() {
		r.learn(now, o)
	}
}

// Unwatched says that nobody will tell when the pod answers this request, so that
// the wait for it says nothing about the pod. It stays in flight until Done.
func (r PickResult) Unwatched() {
	if r.settle() {
		r.pod.unwatched()
	}
}

// settle reports whether the result was still waiting for an answer.
func (r PickResult) settle() bool { return r.f != nil && r.f.gen.CompareAndSwap(r.gen, r.gen+1) }

// Done ends the request; without an Answered before it is also the answer. Only
// the first Done of a result and its copies counts.
func (r PickResult) Done(now time.Time, o Outcome) {
	waiting, open := r.end()
	if !open {
		return
	}
	if waiting {
		r.learn(now, o)
	}
	r.release()
}

// Cancel ends a result that no request used, as if it had not been picked.
func (r PickResult) Cancel() {
	waiting, open := r.end()
	if !open {
		return
	}
	if waiting {
		r.pod.unwatched()
	}
	r.f.shard.canceled.Add(1)
	r.release()
}

// end moves the result to its end and reports whether it was open, and whether it
// still waited for an answer.
func (r PickResult) end() (waiting, open bool) {
	if r.f == nil {
		return false, false
	}
	for {
		at := r.f.gen.Load()
		if at != r.gen && at != r.gen+1 {
			return false, false
		}
		if r.f.gen.CompareAndSwap(at, r.gen+2) {
			return at == r.gen, true
		}
	}
}

func (r PickResult) learn(now time.Time, o Outcome) {
	r.f.shard.end(o)
	r.pod.answer(r.f.b.clock.Nanos(now), o, r.f.b.snap.Load())
}

func (r PickResult) release() {
	r.pod.inFlight.Add(-1)
	r.f.b.flights.Put(r.f)
}
