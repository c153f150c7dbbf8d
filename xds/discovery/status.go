package discovery

import (
	"fmt"
	"time"
)

// Status is how the source of a service's pods does, as the admin API shows it.
type Status struct {
	// Source is the kind, and the file or name.
	Source string `json:"source"`
	// State is good; held: more than half of the pods are kept though the source lacks
	// them;
	// stale: the source cannot be read and its last good list is served; missing:
	// it cannot be read and never could be.
	State string `json:"state"`
	// Error is why it cannot be read.
	Error string `json:"error,omitempty"`
	// Age is how long ago the source said last what is served; 0 while it is good.
	Age float64 `json:"age_seconds"`
	// Restored means that the list is from the run before: the source was not
	// read since.
	Restored bool `json:"restored,omitempty"`
	// Held is the loss that is not believed yet.
	Held *Loss `json:"held,omitempty"`
}

// Loss is a loss of pods that is not believed yet.
type Loss struct {
	// Kept is how many pods are served though the source lacks them, Of how many
	// there were, Listed how many the source lists now.
	Kept   int `json:"kept"`
	Of     int `json:"of"`
	Listed int `json:"listed"`
	// Since is when the source first lacked them, Until when it is believed.
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

// The values of Status.State.
const (
	stateGood    = "good"
	stateHeld    = "held"
	stateStale   = "stale"
	stateMissing = "missing"
)

// States are the values of Status.State.
func States() []string { return []string{stateGood, stateHeld, stateStale, stateMissing} }

// Note says in a sentence what is the matter; empty while all is good.
func (s *Status) Note() string {
	if s == nil {
		return ""
	}
	switch s.State {
	case stateHeld:
		return fmt.Sprintf("%s lost %d of %d pods at once: they are kept until %s",
			s.Source, s.Held.Kept, s.Held.Of, s.Held.Until.UTC().Format(time.TimeOnly+" MST"))
	case stateStale:
		note := "its last good list is served"
		if s.Restored {
			note = "the list of the run before is served"
		}
		return fmt.Sprintf("%s cannot be read, %s, %v old: %s", s.Source, note, time.Duration(s.Age)*time.Second, s.Error)
	case stateMissing:
		return fmt.Sprintf("%s cannot be read, there are no pods: %s", s.Source, s.Error)
	}
	return ""
}
