package affinity

import "math"

// probation decides between the entries whose session never came back and the
// others, so that a flood of made-up ids costs as few live sessions as can be.
//
// Where unproven and proven entries return equally often it must behave as LRU
// does. Where they do not, an unproven entry's age counts for more: multiplied
// by weight, learned from the evicted entries that came back after all. At the
// best weight one more second of age breaks equally many sessions of both
// kinds; the gradient is that of adaptive replacement (ARC, Megiddo and Modha,
// FAST '03), with the kinds of LRU-2Q's queues (Johnson and Shasha, VLDB '94).
//
// A flood is faster than any learning, so two limits stand beside it. A proven
// entry is dropped only against credit, which sessions earn by coming back. And
// when new ids come several times faster than usual, unproven entries are kept
// until they are nearly as old as they usually become before they are dropped,
// and the newcomers in a small nursery push out each other. Those of them that
// come back after all make it forget what is usual.
type probation struct {
	slab    *slab
	nursery queue // the newest ids
	elders  queue // ids that left the nursery
	// nurserySize is what the nursery holds before ids leave it.
	nurserySize int
	waiting     int // unproven entries in the table

	weight  float64 // of an unproven entry's age, at least 1
	evicted [2]float64
	decay   float64 // of evicted, by one eviction

	credit, maxCredit float64
	usualAge          float64 // of elders when dropped, in nanoseconds
	usualStay         float64 // in the nursery, in nanoseconds
	gain              float64 // of the usual ones, by one eviction
}

const (
	// learningRate is the change of weight's logarithm by one broken session.
	// 0.02 settles within a few hundred and costs LRU less than 1 %.
	learningRate = 0.02
	maxWeight    = 32
	// bonus is the extra credit for a session that came back: what lets the
	// unproven share grow where it is too small.
	bonus = 0.05
	// minNursery keeps how long ids stay in the nursery from being mere chance.
	// Else it is small: what it holds when a flood begins is lost.
	minNursery = 16
	// earlyShare is the part of their usual age at which elders may be dropped:
	// below 1, so that the usual age can follow a lasting change of the load, and
	// not by much, as a flood begins with dropping those who are above it.
	earlyShare = 0.95
	// floodShare is how much shorter than usual the stay in the nursery must be
	// to speak of a flood. Sessions that were broken come back as new ones and
	// can raise the rate of those by their mean length: it must not look as if
	// that were one.
	floodShare = 0.5
)

func newProbation(room Room) probation {
	size := float64(room.Capacity)
	return probation{
		slab:        room.slab,
		nurserySize: max(room.Capacity/256, min(room.Capacity/64, minNursery), 1),
		weight:      1,
		decay:       1 - min(4/size, 0.5),
		maxCredit:   min(max(size/200, 8), max(size/2, 1)),
		gain:        min(4/size, 0.5),
	}
}

// admitted takes note of a new entry.
func (p *probation) admitted(e *Entry) {
	p.waiting++
	p.nursery.push(p.slab.ref(e))
	for p.nursery.len() > p.nurserySize {
		if r := p.nursery.pop(); p.onProbation(r) != nil {
			p.elders.push(r)
		}
	}
	if p.elders.len() > 2*p.waiting+64 {
		p.elders.keep(p.onProbation)
	}
}

// onProbation returns the entry if it is in the table and unproven still.
func (p *probation) onProbation(r ref) *Entry {
	if e := p.slab.entry(r); e != nil && e.Mark() == unproven {
		return e
	}
	return nil
}

// promoted takes note of an unproven entry that was used.
func (p *probation) promoted() {
	p.waiting--
	p.credit = min(p.credit+1+bonus, p.maxCredit)
}

// relocated implements relocater.
func (p *probation) relocated(slots []uint32) {
	p.nursery.relocate(slots)
	p.elders.relocate(slots)
}

// left takes note of an unproven entry that was removed.
func (p *probation) left() { p.waiting-- }

// choose returns the entry to drop, given the least recently used one.
func (p *probation) choose(oldest *Entry, now int64) *Entry {
	elder, newcomer := p.elders.first(p.onProbation), p.nursery.first(p.onProbation)
	if elder == nil {
		elder = newcomer
	}
	if elder == nil {
		return oldest
	}
	age := float64(now - elder.lastSeen)
	flood, due := false, age
	if newcomer != nil {
		stay := float64(now - newcomer.lastSeen)
		if flood = age < earlyShare*p.usualAge && stay < floodShare*p.usualStay; flood {
			due = p.usualAge
		} else {
			p.usualStay += (stay - p.usualStay) * p.gain
		}
	}
	if oldest.Mark() == proven && p.credit >= 1 && float64(now-oldest.lastSeen) > p.weight*due {
		p.credit--
		return oldest
	}
	if flood {
		newcomer.SetMark(floodMark)
		return newcomer
	}
	p.usualAge += (age - p.usualAge) * p.gain
	return elder
}

// dropped counts an eviction.
func (p *probation) dropped(mark uint8) {
	if mark == floodMark {
		return
	}
	p.evicted[unproven] *= p.decay
	p.evicted[proven] *= p.decay
	p.evicted[mark]++
}

// learn moves the weight after an evicted session came back: down if it had
// been on probation, up if not, by shares that balance where both kinds return
// at equal rates of their evictions and ages.
func (p *probation) learn(mark uint8) {
	if mark == floodMark {
		// It was no flood, or not only.
		p.usualAge *= 1 - p.gain/4
		p.usualStay *= 1 - p.gain/4
		return
	}
	a := math.Sqrt(p.weight) / max(p.evicted[unproven], 1)
	b := 1 / max(p.evicted[proven], 1)
	step := learningRate * b / (a + b)
	if mark == unproven {
		step = -learningRate * a / (a + b)
	}
	p.weight = min(max(p.weight*math.Exp(step), 1), maxWeight)
}
