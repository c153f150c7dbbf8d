// Package slowstart says when a pod starts slowly, and how much of its weight it
// has meanwhile.
package slowstart

import statefulroute "github.com/stateful-route/stateful-route"

// Starts reports whether a pod that was one thing and is now another has to start
// slowly: it serves again after it did not, or is another process under its name. A
// pod that was only drained served its sessions all the while.
func Starts(was, is statefulroute.Pod) bool {
	return was.Address != is.Address || !was.State.ServesBound() && is.State.ServesBound()
}

// Ramp is the share of its weight that a pod has after age of a slow start of
// length whole: it rises from a tenth to one.
func Ramp(age, whole float64) float64 {
	if age >= whole {
		return 1
	}
	return 0.1 + 0.9*max(age, 0)/whole
}
