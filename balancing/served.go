package balancing

import (
	"math"
	"time"
)

// Served is what became of the requests of a pod that were sent to it without Start, since
// it was told last.
type Served struct {
	// InFlight is how many have not ended now.
	InFlight int64
	// Succeeded, Failed and Others are those that were answered or ended; Others say nothing
	// about the pod, as those whose client went away.
	Succeeded, Failed, Others uint64
	// Timed is how many began to answer, and did not fail, and ResponseTimes the sum of their
	// response times.
	Timed         uint64
	ResponseTimes time.Duration
}

// Served tells of requests that Start does not see, because they are sent to their pod by
// somebody who does not ask. It is called again and again, such as once a second: to picks
// and statistics they are as others, if that late. An unknown pod is ignored.
func (b *Balancer) Served(now time.Time, pod string, u Served) {
	p, ok := b.snap.Load().byName[pod]
	if !ok {
		return
	}
	nano := b.clock.Nanos(now)
	p.served(nano, u, b.snap.Load())
	all := u.Succeeded + u.Failed + u.Others
	if all+u.Timed == 0 {
		return
	}
	t := &b.shards[0]
	t.requests.Add(all)
	t.succeeded.Add(u.Succeeded)
	t.failed.Add(u.Failed)
	t.last.Store(max(t.last.Load(), nano))
	t.timed.Add(u.Timed)
	t.time.Add(int64(u.ResponseTimes))
}

// served learns from many outcomes at once: of the response times their mean, and of the
// error rate what as many outcomes one by one would leave of it.
func (p *pod) served(now int64, u Served, s *snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inFlight.Add(u.InFlight - p.elsewhere)
	p.elsewhere = u.InFlight
	answered := u.Succeeded + u.Failed
	if answered+u.Timed == 0 {
		return
	}
	age := now - p.learned.Load()
	left := s.fade(age)
	if u.Timed > 0 {
		p.observeTime(max(gainAfter(age, latencyTau), 1-left), float64(u.ResponseTimes)/float64(u.Timed), false)
	}
	kept := math.Pow(1-errorGain, float64(answered))
	failed := float64(u.Failed) / float64(max(answered, 1))
	storeFloat(&p.errors, kept*left*loadFloat(&p.errors)+(1-kept)*failed)
	p.learned.Store(now)
	p.answered.Store(now)
	p.unanswered.Store(0)
}
