package health

import (
	"fmt"
	"slices"
	"time"

	"github.com/stateful-route/stateful-route/balancing/weight"
)

// Silence finds pods that were sent requests throughout a window and answered none
// of them well. An idle pod is not silent: nobody asked it anything. Nor is one
// whose open requests have all been answered, as long streams are. What it finds
// is a doubt, not a verdict: see [Checker.Doubt]. It is not safe for concurrent use.
type Silence struct {
	window time.Duration
	pods   map[string]*asked
}

// asked is what a pod was asked since it last answered.
type asked struct {
	// unanswered is the number of open requests that were not answered yet. It can
	// be below 0, for one report: who saw an answer may report before who sent the
	// request.
	unanswered int64
	// since and last bound the time in which requests went unanswered; zero: none.
	since, last time.Time
}

// NewSilence returns a Silence with the response time window, which must be
// positive.
func NewSilence(window time.Duration) (*Silence, error) {
	if window <= 0 {
		return nil, fmt.Errorf("response time window %v is not positive", window)
	}
	return &Silence{window: window, pods: map[string]*asked{}}, nil
}

// Observe takes one report of a pod's load. Of several reporters, give the sum.
// Answers is the number of good answers that others than the reporters saw begin,
// 0 when nobody else looks: Envoy counts a request as succeeded at its response
// headers, but a gRPC stream only at its end.
func (s *Silence) Observe(now time.Time, pod string, o weight.Observation, answers uint64) {
	p := s.pods[pod]
	if p == nil {
		p = &asked{}
		s.pods[pod] = p
	}
	p.count(o, int64(answers))
	switch {
	case o.Succeeded > 0 || answers > 0:
		p.since, p.last = time.Time{}, time.Time{}
	case o.Issued > 0 || o.Failed > 0 || p.unanswered > 0:
		if p.since.IsZero() || now.Sub(p.last) > s.window {
			p.since = now.Add(-o.Interval)
		}
		p.last = now
	case p.unanswered == 0 && now.Sub(p.last) > s.window:
		delete(s.pods, pod) // a pause that long is the end of what was asked
	}
}

// count keeps the number of unanswered requests. Those that their clients gave up
// are never reported as ended, so it is bounded by what is in progress.
func (p *asked) count(o weight.Observation, answers int64) {
	if p.unanswered < 0 && o.Issued == 0 {
		p.unanswered = 0
	}
	p.unanswered += int64(o.Issued) - max(int64(o.Succeeded), answers) - int64(o.Failed)
	p.unanswered = min(max(p.unanswered, -answers), int64(o.InProgress))
}

// Forget drops a pod that is gone.
func (s *Silence) Forget(pod string) { delete(s.pods, pod) }

// Doubts returns the pods that went a window without a good answer, in
// alphabetical order, each once for every window that this lasts.
func (s *Silence) Doubts() []string {
	var found []string
	for pod, p := range s.pods {
		if !p.since.IsZero() && p.last.Sub(p.since) >= s.window {
			p.since = p.last
			found = append(found, pod)
		}
	}
	slices.Sort(found)
	return found
}
