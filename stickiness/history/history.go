// Package history is what was seen in a run: what clients sent and got, and what
// was done to pods and gateways meanwhile. Times count from the run's start.
package history

import (
	"time"

	"github.com/stateful-route/stateful-route/stickiness/pod"
)

// Kind is how a visit was made.
type Kind string

// The kinds of visits.
const (
	Request   Kind = "request"
	WebSocket Kind = "websocket"
	Events    Kind = "event-stream"
	GRPC      Kind = "grpc"
)

// Record is one visit that a client tried, and what came of it.
type Record struct {
	Session  string        `json:"session"`
	Gateway  int           `json:"gateway"`
	Kind     Kind          `json:"kind"`
	Stream   int           `json:"stream,omitempty"` // of the session, from 1; 0 for a request
	Nonce    string        `json:"nonce"`
	Key      string        `json:"key,omitempty"` // pod.HashKey of the id that was sent, where the pod is to see it
	Sent     time.Duration `json:"sent"`          // or, of a stream's first message, when the stream was asked for
	Received time.Duration `json:"received"`
	Status   int           `json:"status,omitempty"` // 0: no response
	Answer   *pod.Answer   `json:"answer,omitempty"`
	Reason   string        `json:"reason,omitempty"` // what a refusal said besides its status
	Err      string        `json:"err,omitempty"`    // why there was no whole answer
}

// Span is a time.
type Span struct {
	From  time.Duration `json:"from"`
	Until time.Duration `json:"until"`
}

// Mark is something that was done, for the picture.
type Mark struct {
	Span
	Text string `json:"text"`
}

// Pod is the life of a pod as those know it who brought it about. All is known
// from the safe side: a time in which it may or may not have served is none in
// which it could.
type Pod struct {
	Secret   []byte          `json:"-"`
	Able     []Span          `json:"able"`     // it ran, was healthy and in the gateways' list
	Draining []Span          `json:"draining"` // it was to get no new sessions
	Ends     []time.Duration `json:"ends"`     // each time its process, and with it its memory, was about to end
	Stalls   []Span          `json:"stalls"`   // it did not run though it wanted to
}

// History is all of a run.
type History struct {
	Pods     map[string]Pod `json:"pods"`
	Gateways [][]Span       `json:"gateways"` // when each of them could serve
	Stalls   []Span         `json:"stalls"`   // of the suite's own process
	Settle   time.Duration  `json:"settle"`   // how long what came back may go unnoticed
	Marks    []Mark         `json:"marks"`
	Records  []Record       `json:"-"`
}

// Covers reports whether one of the spans has all of [from, until].
func Covers(spans []Span, from, until time.Duration) bool {
	for _, s := range spans {
		if s.From <= from && until <= s.Until {
			return true
		}
	}
	return false
}

// Meets reports whether one of the spans has a part of [from, until].
func Meets(spans []Span, from, until time.Duration) bool {
	for _, s := range spans {
		if s.From <= until && from <= s.Until {
			return true
		}
	}
	return false
}
