package simulate

import "time"

// Flood is a burst of made-up ids, each used once.
type Flood struct {
	IDs  int
	Over time.Duration
}

// FloodResult is what a flood did to the sessions that were alive and bound
// when it began.
type FloodResult struct {
	// Once and CameBack are the sessions with one request so far, and with more.
	Once, CameBack int
	// BrokenOnce and BrokenCameBack are those of them that came back during the
	// flood, or would after it, to find their binding gone.
	BrokenOnce, BrokenCameBack int
}

// BrokenShare is broken among all sessions alive when the flood began.
func (r FloodResult) BrokenShare() float64 {
	return float64(r.BrokenOnce+r.BrokenCameBack) / float64(max(r.Once+r.CameBack, 1))
}

// CameBackShare is broken among those that had come back before the flood.
func (r FloodResult) CameBackShare() float64 {
	return float64(r.BrokenCameBack) / float64(max(r.CameBack, 1))
}

// floodID is the first of the made-up ids, far above those of sessions.
const floodID = 1 << 40

// RunFlood warms the table up with the workload and then lets the flood come,
// while the sessions go on.
func RunFlood(w Workload, t Table, f Flood) FloodResult {
	w = w.withDefaults()
	s := newStream(w)
	seen := map[uint64]int{} // requests of the sessions alive
	start := w.duration() / 2
	e := s.next()
	for ; e.At < start; e = s.next() {
		t.Request(e.ID, e.At)
		if seen[e.ID]++; e.Last {
			delete(seen, e.ID)
		}
	}
	for id := range seen {
		if !t.Has(id, start) {
			delete(seen, id)
		}
	}
	var r FloodResult
	for i := range f.IDs + 1 {
		at := start + f.Over
		if i < f.IDs {
			at = start + f.Over/time.Duration(f.IDs)*time.Duration(i)
		}
		for ; e.At <= at; e = s.next() {
			known := t.Request(e.ID, e.At)
			if n := seen[e.ID]; n > 0 && (e.Last || !known) {
				r.count(n, known)
				delete(seen, e.ID)
			}
		}
		if i < f.IDs {
			t.Request(floodID+uint64(i), at)
		}
	}
	for id, n := range seen {
		r.count(n, t.Has(id, start+f.Over))
	}
	return r
}

func (r *FloodResult) count(requests int, held bool) {
	all, broken := &r.CameBack, &r.BrokenCameBack
	if requests == 1 {
		all, broken = &r.Once, &r.BrokenOnce
	}
	*all++
	if !held {
		*broken++
	}
}
