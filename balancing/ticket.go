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

// Ticket is a request in flight on a pod. It is a small value that may be copied;
// the zero Ticket is on no pod.
type Ticket struct {
	f   *flight
	pod *pod
	gen uint64
}

// flight is the shared part of a ticket's copies. It is reused; gen tells the
// tickets of its present use from those of earlier ones, which is how a second
// Done is found harmless without an allocation for each request.
type flight struct {
	gen   atomic.Uint64 // a ticket's own: waiting; one more: settled; two more: ended
	b     *Balancer
	shard *shard
}

// ticket makes the ticket of a request that is already counted in flight on p.
func (f *flight) ticket(p *pod, now int64) Ticket {
	p.sent(now)
	return Ticket{f: f, pod: p, gen: f.gen.Load()}
}

// Pod returns the name of the ticket's pod, "" for the zero Ticket.
func (t Ticket) Pod() string {
	if t.pod == nil {
		return ""
	}
	return t.pod.name
}

// Answered says that the pod's response began, which for a stream is long before
// it ends: the balancer learns from the outcome now, and the request stays in
// flight until Done. Only the first of Answered, Unwatched and Done teaches.
func (t Ticket) Answered(now time.Time, o Outcome) {
	if t.settle() {
		t.learn(now, o)
	}
}

// Unwatched says that nobody will tell when the pod answers this request, so that
// its silence says nothing about the pod. It stays in flight until Done.
func (t Ticket) Unwatched() {
	if t.settle() {
		t.pod.unwatched()
	}
}

// settle reports whether the ticket was still waiting for an answer.
func (t Ticket) settle() bool { return t.f != nil && t.f.gen.CompareAndSwap(t.gen, t.gen+1) }

// Done ends the request; without an Answered before it is also the answer. Only
// the first Done of a ticket and its copies counts.
func (t Ticket) Done(now time.Time, o Outcome) {
	waiting, open := t.end()
	if !open {
		return
	}
	if waiting {
		t.learn(now, o)
	}
	t.release()
}

// GiveBack ends a ticket that no request used, as if it had not been picked.
func (t Ticket) GiveBack() {
	waiting, open := t.end()
	if !open {
		return
	}
	if waiting {
		t.pod.unwatched()
	}
	t.f.shard.returned.Add(1)
	t.release()
}

// end moves the ticket to its end and reports whether it was open, and whether it
// still waited for an answer.
func (t Ticket) end() (waiting, open bool) {
	if t.f == nil {
		return false, false
	}
	for {
		at := t.f.gen.Load()
		if at != t.gen && at != t.gen+1 {
			return false, false
		}
		if t.f.gen.CompareAndSwap(at, t.gen+2) {
			return at == t.gen, true
		}
	}
}

func (t Ticket) learn(now time.Time, o Outcome) {
	t.f.shard.end(o)
	t.pod.answer(t.f.b.clock.Nanos(now), o, t.f.b.snap.Load())
}

func (t Ticket) release() {
	t.pod.inFlight.Add(-1)
	t.f.b.flights.Put(t.f)
}
