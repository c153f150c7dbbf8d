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

// Outcome is what was seen of a request when it ended.
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
	gen   atomic.Uint64
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

// Done ends the request. Only the first Done of a ticket and its copies counts.
func (t Ticket) Done(now time.Time, o Outcome) {
	if t.f == nil || !t.f.gen.CompareAndSwap(t.gen, t.gen+1) {
		return
	}
	b := t.f.b
	t.f.shard.end(o)
	t.pod.ended(now.UnixNano(), o, b.snap.Load())
	t.pod.inFlight.Add(-1)
	b.flights.Put(t.f)
}
