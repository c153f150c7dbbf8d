package balancing

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNoPods is matched, through errors.Is, by the error of a pick that found no
// pod to choose.
var ErrNoPods = errors.New("no healthy pods available")

// NoPodsError says why each pod was left out of a pick that found none.
type NoPodsError struct {
	// LeftOut has one entry for each pod, in the order SetPods got them; empty
	// when the service has no pods at all.
	LeftOut []LeftOut
}

// LeftOut is one pod and the reason it could not be picked.
type LeftOut struct {
	Pod    string
	Reason string
}

// Error lists the first few pods: a service may have thousands.
func (e *NoPodsError) Error() string {
	const shown = 8
	if len(e.LeftOut) == 0 {
		return ErrNoPods.Error() + ": the service has none"
	}
	var b strings.Builder
	b.WriteString(ErrNoPods.Error())
	for i, l := range e.LeftOut {
		if i == shown {
			fmt.Fprintf(&b, ", and %d more", len(e.LeftOut)-shown)
			break
		}
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(&b, "%s%s: %s", sep, l.Pod, l.Reason)
	}
	return b.String()
}

// Unwrap makes errors.Is(err, ErrNoPods) true.
func (e *NoPodsError) Unwrap() error { return ErrNoPods }
