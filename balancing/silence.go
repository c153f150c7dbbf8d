package balancing

import (
	"fmt"
	"slices"
	"time"
)

// Silence finds pods that were sent requests for a whole window and answered none
// of them well. An idle pod is not silent: nobody asked it anything. What it finds
// is a doubt, not a verdict: see [Health.Doubt]. It is not safe for concurrent use.
type Silence struct {
	window time.Duration
	since  map[string]time.Time // sent requests since, without a success
}

// NewSilence returns a Silence with the response time window, which must be
// positive.
func NewSilence(window time.Duration) (*Silence, error) {
	if window <= 0 {
		return nil, fmt.Errorf("response time window %v is not positive", window)
	}
	return &Silence{window: window, since: map[string]time.Time{}}, nil
}

// Observe takes one report of a pod's load. Of several reporters, give the sum:
// an idle report clears what a busy one found.
func (s *Silence) Observe(now time.Time, pod string, o Observation) {
	_, waiting := s.since[pod]
	switch {
	case o.Succeeded > 0 || o.Issued == 0 && o.InProgress == 0:
		delete(s.since, pod)
	case !waiting:
		s.since[pod] = now.Add(-o.Interval)
	}
}

// Forget drops a pod that is gone.
func (s *Silence) Forget(pod string) { delete(s.since, pod) }

// Doubts returns the pods that have been silent for a window, in alphabetical
// order, each once for every window that its silence lasts.
func (s *Silence) Doubts(now time.Time) []string {
	var found []string
	for pod, since := range s.since {
		if now.Sub(since) >= s.window {
			s.since[pod] = now
			found = append(found, pod)
		}
	}
	slices.Sort(found)
	return found
}
