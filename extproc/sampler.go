package extproc

import (
	"sync/atomic"
	"time"
)

// sampleEvery is the shortest time between two looks at a response of one pod
// that have no other purpose. A pod with fewer requests than that has every
// response looked at; a busy one gives 40 response times a second, which is
// plenty for a smoothed mean and next to nothing of its traffic.
const sampleEvery = 25 * time.Millisecond

// sampler decides which requests have their response looked at. It is shared by
// the requests of one pod and takes no lock.
type sampler struct {
	last atomic.Int64 // Unix nanoseconds
}

// take reports whether the request that begins now is to be looked at.
func (s *sampler) take(now time.Time) bool {
	n, last := now.UnixNano(), s.last.Load()
	return n-last >= int64(sampleEvery) && s.last.CompareAndSwap(last, n)
}
