// Package simulate measures what a session table breaks. It makes up the
// requests of sessions that come, pause and go, plays them to a table in
// simulated time, and counts the requests that came back to find their binding
// gone although their session was alive.
//
// A run depends on its seed alone; it needs no clock.
package simulate

import (
	"strconv"
	"time"

	"github.com/stateful-route/stateful-route/affinity"
)

// Table is what is measured: a set of ids of bounded size.
type Table interface {
	// Request serves a request at a time and reports whether the id was known;
	// if it was not, the table may keep it from now on.
	Request(id uint64, at time.Duration) (known bool)
	// Has reports whether an id is known, without using it.
	Has(id uint64, at time.Duration) bool
}

// Result is what a run counted after the table had warmed up.
type Result struct {
	// Requests of sessions, without those of bots.
	Requests int
	// Returning are those that were not their session's first one, and Broken
	// those of them that were not known any more.
	Returning, Broken int
	// Bots are requests with made-up ids.
	Bots int
}

// BrokenShare is broken among returning requests.
func (r Result) BrokenShare() float64 { return float64(r.Broken) / float64(max(r.Returning, 1)) }

// DefaultTurnovers is Workload.Turnovers where that is 0.
const DefaultTurnovers = 24

// sweepEvery is how often expired entries are looked for.
const sweepEvery = time.Minute

// Run plays the workload to the table.
func Run(w Workload, t Table) (r Result) {
	w = w.withDefaults()
	s := newStream(w)
	end := w.duration()
	for {
		e := s.next()
		if e.At > end {
			return r
		}
		known := t.Request(e.ID, e.At)
		if e.At > end/2 {
			r.count(e, known)
		}
	}
}

func (r *Result) count(e Event, known bool) {
	if e.Bot {
		r.Bots++
		return
	}
	r.Requests++
	if e.Returning {
		r.Returning++
		if !known {
			r.Broken++
		}
	}
}

// Epoch is the time at which simulations begin.
var Epoch = time.Unix(1_800_000_000, 0)

// Affinity drives the project's own table, with its sweep once a minute.
func Affinity(t *affinity.Table) Table { return &affinityTable{table: t} }

type affinityTable struct {
	table *affinity.Table
	swept time.Duration
}

func (t *affinityTable) Request(id uint64, at time.Duration) bool {
	now := Epoch.Add(at)
	if at-t.swept >= sweepEvery {
		t.swept = at
		t.table.Expire(now)
	}
	key := strconv.FormatUint(id, 36)
	if _, ok := t.table.Lookup("sim", key, now); ok {
		return true
	}
	// Refused or not, the request was not known before.
	_, _, _ = t.table.Claim("sim", key, "pod", now)
	return false
}

func (t *affinityTable) Has(id uint64, at time.Duration) bool {
	key, now := strconv.FormatUint(id, 36), Epoch.Add(at)
	_, bound := t.table.Peek("sim", key, now)
	_, remembered := t.table.Remembered("sim", key, now)
	return bound || remembered
}
