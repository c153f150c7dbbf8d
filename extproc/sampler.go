package extproc

import (
	"sync/atomic"
	"time"

	"github.com/stateful-route/stateful-route/internal/monotonic"
)

const (
	// sampleEvery is the time between two looks at responses of one pod that have
	// no other purpose, on average. 40 response times a second are plenty for a
	// smoothed mean, and next to nothing of a busy pod's traffic.
	sampleEvery = 25 * time.Millisecond
	// sampleFine is the same for the unbound requests of a service of which some pod
	// was hardly seen. Which pod serves an unbound request is not known before, so one
	// that gets a request a second of 500 would be seen once in twelve seconds.
	sampleFine = time.Millisecond
	// hardlySeen is the number of responses a second of one pod below which that is
	// so.
	hardlySeen = 3
	// sampleBurst is how many may follow each other at once after a pause. Clients
	// that wait for a slow pod together also come back together: a look at only
	// one of them would take seconds to tell that the pod is slow.
	sampleBurst = 8
	// watchFailures is how long after a failed response every response is looked
	// at. Failures come together, and of a busy pod's a sample would show one in a
	// hundred.
	watchFailures = 2 * time.Second
)

// sampler decides which requests have their response looked at. It is shared by
// the requests of one pod and takes no lock. The method is the generic cell rate
// algorithm (ITU-T I.371).
type sampler struct {
	clock monotonic.Clock
	due   atomic.Int64 // by the clock: when the looks so far are paid for
	watch atomic.Int64 // by the clock: until when every response is looked at
	fine  atomic.Bool  // sampleFine is between two looks
}

// take reports whether the request that begins now is to be looked at.
func (s *sampler) take(now time.Time) bool {
	n, owed := s.clock.Nanos(now), s.due.Load()
	due := owed
	if n < s.watch.Load() {
		return true
	}
	every := int64(s.every())
	if s.fine.Load() && due > n+sampleBurst*every {
		due = n // owed from when looks were rarer
	}
	next := max(n, due) + every
	return next-n <= sampleBurst*every && s.due.CompareAndSwap(owed, next)
}

// every is the time between two looks.
func (s *sampler) every() time.Duration {
	if s.fine.Load() {
		return sampleFine
	}
	return sampleEvery
}

// failed is to be called with each response that was a failure.
func (s *sampler) failed(now time.Time) { s.watch.Store(s.clock.Nanos(now) + int64(watchFailures)) }
