package health

import "time"

// PassiveCheck finds pods that are sent requests and answer none of them well for a
// window. Such a pod is suspect, which is no verdict: [Checker.Suspect] has it
// probed. An idle pod is not, nor is one whose requests have all been answered, as
// long streams are. It is not safe for concurrent use.
type PassiveCheck struct {
	window time.Duration
	since  map[string]time.Time // pods that owe an answer
}

// NewPassiveCheck returns a PassiveCheck with the response time window; 0 or less
// means 30s.
func NewPassiveCheck(window time.Duration) *PassiveCheck {
	if window <= 0 {
		window = 30 * time.Second
	}
	return &PassiveCheck{window: window, since: map[string]time.Time{}}
}

// Observe takes one report of how many requests a pod was sent and how many good
// answers began, and reports whether the pod is suspect: once for each window.
func (c *PassiveCheck) Observe(now time.Time, pod string, sent, answered uint64) (suspect bool) {
	since, owes := c.since[pod]
	switch {
	case answered > 0 && answered >= sent:
		delete(c.since, pod)
	case answered > 0, !owes && sent > 0:
		c.since[pod] = now
	case owes && now.Sub(since) >= c.window:
		delete(c.since, pod)
		return true
	}
	return false
}

// Forget drops a pod that is gone.
func (c *PassiveCheck) Forget(pod string) { delete(c.since, pod) }
