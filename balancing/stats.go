package balancing

import (
	"sync/atomic"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/monotonic"
)

// shards spreads what every pick counts over cache lines.
const shards = 64

// shard is what the requests that were given the same shard count.
type shard struct {
	requests  atomic.Uint64 // also the source of the random choices
	canceled  atomic.Uint64 // picks that no request used
	succeeded atomic.Uint64
	failed    atomic.Uint64
	timed     atomic.Uint64 // responses whose time was seen
	time      atomic.Int64  // their sum, nanoseconds
	last      atomic.Int64  // the latest request, by the balancer's clock
	seed      uint64        // the eighth word: a cache line of its own
}

// draw counts a request and returns its number and a random number.
func (t *shard) draw(now int64) (count, random uint64) {
	n := t.requests.Add(1)
	if now > t.last.Load() {
		t.last.Store(now)
	}
	return n, mix(t.seed + n*golden)
}

func (t *shard) end(o Outcome) {
	switch o.Kind {
	case Success:
		t.succeeded.Add(1)
	case Failure:
		t.failed.Add(1)
	}
	if o.ResponseTime > 0 {
		t.timed.Add(1)
		t.time.Add(int64(o.ResponseTime))
	}
}

// Stats are a balancer's totals since it was made.
type Stats struct {
	// TotalRequests counts every pick and start but the canceled ones.
	TotalRequests uint64
	// Successful and Failed count their outcomes from the answer on; requests not
	// answered yet, aborted and unknown ones are in neither.
	Successful uint64
	Failed     uint64
	// AverageResponseTime is over the requests whose response time was seen; 0
	// when there was none.
	AverageResponseTime time.Duration
	// LastRequest is when the latest request started; zero when there was none.
	LastRequest time.Time
}

// Stats returns the totals.
func (b *Balancer) Stats() Stats {
	var out Stats
	var timed, last int64
	var sum time.Duration
	for i := range b.shards {
		t := &b.shards[i]
		out.TotalRequests += t.requests.Load() - t.canceled.Load()
		out.Successful += t.succeeded.Load()
		out.Failed += t.failed.Load()
		timed += int64(t.timed.Load())
		sum += time.Duration(t.time.Load())
		last = max(last, t.last.Load())
	}
	if timed > 0 {
		out.AverageResponseTime = sum / time.Duration(timed)
	}
	if last > 0 {
		out.LastRequest = b.clock.Time(last)
	}
	return out
}

// Loads returns what is known of each pod, by name.
func (b *Balancer) Loads() map[string]statefulroute.Load {
	s := b.snap.Load()
	out := make(map[string]statefulroute.Load, len(s.byName))
	for name, p := range s.byName {
		out[name] = p.load(&b.clock)
	}
	return out
}

func (p *pod) load(c *monotonic.Clock) statefulroute.Load {
	l := statefulroute.Load{
		InFlight:     p.inFlight.Load(),
		ResponseTime: time.Duration(loadFloat(&p.latency)),
		ErrorRate:    loadFloat(&p.errors),
		Sessions:     p.sessions.Load(),
	}
	if at := p.answered.Load(); at != 0 {
		l.LastResponse = c.Time(at)
	}
	return l
}
