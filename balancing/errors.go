package balancing

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNoPods is matched, through errors.Is, by the error of a pick that found no
// pod to choose.
var ErrNoPods = errors.New("no healthy pods available")

// NoPodsError says why pods were left out of a pick that found none.
type NoPodsError struct {
	// LeftOut has the first few pods, in the order SetPods got them: a service may
	// have thousands, and be asked thousands of times a second. It is empty when the
	// service has no pods at all.
	LeftOut []LeftOut
	// More is how many others there are.
	More int
}

// mostLeftOut bounds NoPodsError.LeftOut.
const mostLeftOut = 8

// LeftOut is one pod and the reason it could not be picked.
type LeftOut struct {
	Pod    string
	Reason string
}

// Error lists the pods in LeftOut.
func (e *NoPodsError) Error() string {
	if len(e.LeftOut) == 0 {
		return ErrNoPods.Error() + ": the service has none"
	}
	var b strings.Builder
	b.WriteString(ErrNoPods.Error())
	for i, l := range e.LeftOut {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(&b, "%s%s: %s", sep, l.Pod, l.Reason)
	}
	if e.More > 0 {
		fmt.Fprintf(&b, ", and %d more", e.More)
	}
	return b.String()
}

// Unwrap makes errors.Is(err, ErrNoPods) true.
func (e *NoPodsError) Unwrap() error { return ErrNoPods }
