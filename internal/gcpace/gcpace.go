// Package gcpace has the garbage collector of a process with a small heap run less often. By
// default the heap may double before the next collection, and a heap of 5 MB that takes in
// 100 MB a second doubles twenty times a second, each time at the cost of whoever allocates.
// With a [Pacer] it grows by so many bytes at least, which bounds what that costs in memory; a
// heap that is larger than that is left as it is.
//
//	pace := gcpace.New(32 << 20)
//	…
//	pace.Tick() // each second
package gcpace

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
)

// Pacer keeps the collector's percentage such that the heap has room to grow. It is for one
// goroutine.
type Pacer struct {
	room    uint64
	percent int
	live    []metrics.Sample
}

// usual is the collector's own percentage.
const usual = 100

// New returns a pacer that has the heap grow by room bytes between collections. It does nothing
// where GOGC or GOMEMLIMIT say what the process's user wants.
func New(room uint64) *Pacer {
	p := &Pacer{room: room, percent: usual, live: []metrics.Sample{{Name: "/gc/heap/live:bytes"}}}
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if os.Getenv(name) != "" {
			p.room = 0
		}
	}
	return p
}

// Tick sets the percentage by what was alive at the last collection. Setting it stops the
// process for a moment, so small changes are left out.
func (p *Pacer) Tick() {
	if p.room == 0 {
		return
	}
	metrics.Read(p.live)
	next := percent(p.live[0].Value.Uint64(), p.room)
	if next == usual && p.percent != usual || next > p.percent*5/4 || next < p.percent*4/5 {
		p.percent = next
		debug.SetGCPercent(next)
	}
}

// percent is by how much a heap may grow to have room.
func percent(live, room uint64) int {
	live = max(live, 1<<20)                             // 0 before the first collection
	return max(usual, int(min(room*100/live, 100_000))) //nolint:gosec // it fits
}
