package evict

import "math"

// The marks on entries.
const (
	onProbation uint8 = iota // in the window or on probation: used only once
	protected                // its session came back
	floodMark                // used only once, and dropped to make way for its like
	passedBy                 // used only once, and in use when it was to be dropped
)

// segments decide between the entries whose session never came back and the
// others, so that a flood of made-up ids costs as few live sessions as can be.
// As in a segmented LRU, a new entry begins in a small window, goes on to probation
// when newer ones fill the window, and is protected once its session came back. The
// entries of the first two segments are said to wait.
//
// Where waiting and protected entries return equally often the choice must be that of
// LRU. Where they do not, a waiting entry's age counts for more: multiplied
// by weight, learned from the evicted entries that came back after all. At the
// best weight one more second of age breaks equally many sessions of both
// kinds; the gradient is that of adaptive replacement (ARC, Megiddo and Modha,
// FAST '03), with the kinds of LRU-2Q's queues (Johnson and Shasha, VLDB '94).
//
// A flood is faster than any learning, so two limits stand beside it. A protected
// entry is dropped only against credit, which sessions earn by coming back. And
// when new ids come several times faster than usual, entries on probation are kept
// until they are nearly as old as they usually become before they are dropped,
// and the newcomers in the window push out each other. Those of them that
// come back after all make it forget what is usual.
type segments struct {
	entries   Entries
	window    queue // the newest ids
	probation queue // ids that left the window
	// windowSize is what the window holds before ids leave it.
	windowSize int
	waiting    int // entries in the table that are not protected

	weight  float64 // of a waiting entry's age, at least 1
	evicted [2]float64
	decay   float64 // of evicted, by one eviction

	credit, maxCredit float64
	usualAge          float64 // of entries on probation when dropped, in nanoseconds
	usualStay         float64 // in the window, in nanoseconds
	gain              float64 // of the usual ones, by one eviction
}

const (
	// learningRate is the change of weight's logarithm by one broken session.
	// 0.02 settles within a few hundred and costs LRU less than 1 %.
	learningRate = 0.02
	maxWeight    = 32
	// bonus is the extra credit for a session that came back: what lets the
	// share of those that wait grow where it is too small.
	bonus = 0.05
	// minWindow keeps how long ids stay in the window from being mere chance.
	// Else it is small: what it holds when a flood begins is lost.
	minWindow = 16
	// earlyShare is the part of their usual age at which entries on probation may
	// be dropped: below 1, so that the usual age can follow a lasting change of the load, and
	// not by much, as a flood begins with dropping those who are above it.
	earlyShare = 0.95
	// floodShare is how much shorter than usual the stay in the window must be
	// to speak of a flood. Sessions that were broken come back as new ones and
	// can raise the rate of those by their mean length: it must not look as if
	// that were one.
	floodShare = 0.5
)

func newSegments(room Room) segments {
	size := float64(room.Capacity)
	return segments{
		entries:    room.Entries,
		windowSize: max(room.Capacity/256, min(room.Capacity/64, minWindow), 1),
		weight:     1,
		decay:      1 - min(4/size, 0.5),
		maxCredit:  min(max(size/200, 8), max(size/2, 1)),
		gain:       min(4/size, 0.5),
	}
}

// admitted takes note of a new entry.
func (s *segments) admitted(e *Entry) {
	s.waiting++
	s.window.push(refTo(e))
	for s.window.len() > s.windowSize {
		if r := s.window.pop(); s.waitingEntry(r) != nil {
			s.probation.push(r)
		}
	}
	if s.probation.len() > 2*s.waiting+64 {
		s.probation.keep(s.waitingEntry)
	}
}

// waitingEntry returns the entry if it is in the table and not protected.
func (s *segments) waitingEntry(r ref) *Entry {
	if e := r.entry(s.entries); e != nil && e.Mark() == onProbation {
		return e
	}
	return nil
}

// promoted takes note of a waiting entry that was used.
func (s *segments) promoted() {
	s.waiting--
	s.credit = min(s.credit+1+bonus, s.maxCredit)
}

func (s *segments) relocated(slots []uint32) {
	s.window.relocate(slots)
	s.probation.relocate(slots)
}

// left takes note of a waiting entry that was removed.
func (s *segments) left() { s.waiting-- }

// choose returns the entry to drop, given the least recently used one.
func (s *segments) choose(oldest *Entry, now int64) *Entry {
	candidate, newcomer := s.probation.first(s.waitingEntry), s.window.first(s.waitingEntry)
	if candidate == nil {
		candidate = newcomer
	}
	if candidate == nil {
		return oldest
	}
	age := float64(now - candidate.LastSeen)
	flood, due := false, age
	if newcomer != nil {
		stay := float64(now - newcomer.LastSeen)
		if flood = age < earlyShare*s.usualAge && stay < floodShare*s.usualStay; flood {
			due = s.usualAge
		} else {
			s.usualStay += (stay - s.usualStay) * s.gain
		}
	}
	if oldest.Mark() == protected && s.credit >= 1 && float64(now-oldest.LastSeen) > s.weight*due {
		s.credit--
		return oldest
	}
	if flood {
		newcomer.SetMark(floodMark)
		return newcomer
	}
	s.usualAge += (age - s.usualAge) * s.gain
	return candidate
}

// setAside takes a waiting entry that was chosen out of its queue: from now on its mark
// is of no interest there.
func (s *segments) setAside(e *Entry) { e.SetMark(passedBy) }

// putBack has an entry that was set aside wait again.
func (s *segments) putBack(e *Entry) {
	e.SetMark(onProbation)
	s.probation.push(refTo(e))
}

// dropped counts an eviction.
func (s *segments) dropped(mark uint8) {
	if mark == floodMark {
		return
	}
	s.evicted[onProbation] *= s.decay
	s.evicted[protected] *= s.decay
	s.evicted[mark]++
}

// learn moves the weight after an evicted session came back: down if it had
// been on probation, up if not, by shares that balance where both kinds return
// at equal rates of their evictions and ages.
func (s *segments) learn(mark uint8) {
	if mark == floodMark {
		// It was no flood, or not only.
		s.usualAge *= 1 - s.gain/4
		s.usualStay *= 1 - s.gain/4
		return
	}
	a := math.Sqrt(s.weight) / max(s.evicted[onProbation], 1)
	b := 1 / max(s.evicted[protected], 1)
	step := learningRate * b / (a + b)
	if mark == onProbation {
		step = -learningRate * a / (a + b)
	}
	s.weight = min(max(s.weight*math.Exp(step), 1), maxWeight)
}
