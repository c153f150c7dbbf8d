package fastpath

import (
	"math/bits"
	"time"

	"github.com/stateful-route/stateful-route/fastpath/internal/layout"
)

// The sizes of a PodUse.
const (
	Methods = layout.Methods
	Classes = layout.Classes
	Buckets = layout.HistBuckets
)

// PodUse is what readers counted of a pod's requests since the harvest before.
type PodUse struct {
	// InFlight is how many of sessions there are now.
	InFlight uint32
	// Requests that ended, by method (GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, CONNECT,
	// TRACE, other) and class of status (none, 1xx to 5xx, other).
	Requests [Methods][Classes]uint64
	// Unbound are those without a session, which are none of Requests.
	Unbound [Methods][Classes]uint64
	// DurationSum is how long those took in all, and Durations how many took how long: see
	// Bounds.
	DurationSum time.Duration
	Durations   [Buckets]uint32
	// ResponseSum and Responded are the sum and the number of the times to response headers with a
	// status below 500 of requests of sessions, UnboundResponseSum is the sum of the others', and Responses
	// are how many of both took how long.
	ResponseSum        time.Duration
	Responded          uint64
	UnboundResponseSum time.Duration
	Responses          [Buckets]uint32
	// Aborted ended without a response, and Misroutes were served by another pod.
	Aborted   uint64
	Misroutes uint64
}

// Bounds are the shortest time that is counted in a bucket of Durations or Responses, and the
// shortest that is too long for it. There are eight buckets for each doubling; the last has
// all that is longer as well.
func Bounds(bucket int) (from, to time.Duration) { return lowest(bucket), lowest(bucket + 1) }

func lowest(bucket int) time.Duration {
	if bucket < 8 {
		return time.Duration(bucket) * time.Microsecond
	}
	e := bucket/8 + 2
	return time.Duration(8+bucket%8) << (e - 3) * time.Microsecond
}

// BucketOf is the bucket in which a time is counted.
func BucketOf(took time.Duration) int {
	us := uint64(max(took, 0) / time.Microsecond)
	if us < 8 {
		return int(us)
	}
	e := bits.Len64(us) - 1
	return min(Buckets-1, 8*(e-2)+int(us>>(e-3)&7))
}

// sums are the words from PodRequests on: requests, duration, response, aborted, misroutes,
// responses, and response of those without a session.
const sums = layout.Methods*layout.Classes + 6

// counted is what a record's counters were when they were harvested.
type counted struct {
	inFlight   uint32
	sums       [sums]uint64
	unbound    [layout.Methods * layout.Classes]uint64
	histograms *[2 * layout.HistBuckets]uint32 // nil: all zero
}

// Harvest calls take for each pod of which anything was counted since it was called last, or
// that has requests in flight or had; the pod is "" for requests of the service without a
// session of which no pod is known to serve them. u is valid until take returns, which must not call the table. It also takes out
// what readers left that are no more, and sessions not used for hours: it is to be called
// about once a second.
func (t *Table) Harvest(take func(service, pod string, u *PodUse)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mem == nil {
		return
	}
	t.dropDeadReaders()
	t.sweepOld()
	var u PodUse
	for i := range t.fresh {
		if t.pods[i].used && t.harvest(i, &u) {
			take(t.pods[i].service, t.pods[i].name, &u)
		}
	}
}

// harvest reads what is new in a record, and reports whether there is anything to say.
func (t *Table) harvest(i int, u *PodUse) bool {
	p, at := &t.pods[i], t.podAt(i)
	inFlight := t.inFlight(i, t.readers.known)
	busy := inFlight > 0 || p.last.inFlight > 0
	p.last.inFlight = inFlight
	news := t.hasNews(i)
	if busy || news {
		*u = PodUse{InFlight: inFlight}
	}
	if !news {
		return busy
	}
	var delta [sums]uint64
	t.newWords(at+layout.PodRequests, p.last.sums[:], delta[:])
	for w := range Methods * Classes {
		u.Requests[w/Classes][w%Classes] = delta[w]
	}
	rest := delta[Methods*Classes:]
	u.DurationSum, u.ResponseSum, u.Aborted, u.Misroutes = time.Duration(rest[0]), time.Duration(rest[1]), rest[2], rest[3]
	u.Responded, u.UnboundResponseSum = rest[4], time.Duration(rest[5])
	t.newWords(at+layout.PodUnboundRequests, p.last.unbound[:], delta[:Methods*Classes])
	for w := range Methods * Classes {
		u.Unbound[w/Classes][w%Classes] = delta[w]
	}
	t.harvestHistograms(i, u)
	return true
}

// newWords is what was added to words since they were last.
func (t *Table) newWords(at uint64, last, added []uint64) {
	for w := range last {
		now := t.mem.Load64(at + 8*uint64(w))
		added[w] = now - last[w]
		last[w] = now
	}
}

// hasNews reports whether anything was counted. Whatever is adds to one of a few words, of
// thousands of pods the others need not be read.
func (t *Table) hasNews(i int) bool {
	for w := Methods * Classes; w < sums; w++ {
		if t.mem.Load64(t.podAt(i)+layout.PodRequests+8*uint64(w)) != t.pods[i].last.sums[w] {
			return true
		}
	}
	return false
}

func (t *Table) harvestHistograms(i int, u *PodUse) {
	p, at := &t.pods[i], t.podAt(i)
	if p.last.histograms == nil {
		p.last.histograms = new([2 * layout.HistBuckets]uint32)
	}
	for b := range layout.HistBuckets {
		u.Durations[b] = t.newIn(at+layout.PodDurationHist+4*uint64(b), &p.last.histograms[b])
		u.Responses[b] = t.newIn(at+layout.PodResponseHist+4*uint64(b), &p.last.histograms[layout.HistBuckets+b])
	}
}

// newIn is what was added to a word since it was last.
func (t *Table) newIn(at uint64, last *uint32) uint32 {
	now := t.mem.Load32(at)
	added := now - *last
	*last = now
	return added
}

// Results is how often each thing came of a request, since the table was made: "hit" and
// "unkeyed" needed no callout; the rest took it. "unknown" are sessions that are not in the
// table, "no_key" requests without one, "policy" what the service's policy leaves to
// extproc, "keys" several keys or long ones, "pod" pods that do not serve, "busy" entries
// that were being written, "lease" what came after its end, "traced" and "idle". "again" is
// a hit or unkeyed whose pod gave no answer and that was sent once more.
func (t *Table) Results() map[string]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	results := map[string]uint64{}
	if t.mem == nil {
		return results
	}
	for r, name := range layout.Results() {
		for stripe := range uint64(layout.Stripes) {
			results[name] += t.mem.Load64(layout.OffCounters + stripe*layout.StripeSize + 8*uint64(r))
		}
	}
	return results
}
