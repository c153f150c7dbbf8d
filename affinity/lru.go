package affinity

import "time"

// The marks that lru keeps on entries.
const (
	unproven uint8 = iota
	proven
	floodMark // an unproven entry that was dropped to make way for its like
)

// lruStrategy drops the least recently used entry, except that ids that were
// used only once are on probation: see probation.
type lruStrategy struct{}

func (lruStrategy) NewPolicy(room Room) Policy {
	return &lru{recency: newRecency(room), probation: newProbation(room)}
}

type lru struct {
	recency
	probation
}

func (l *lru) Add(e *Entry) {
	l.recency.Add(e)
	l.admitted(e)
}

// Used also ends the entry's probation: its session came back.
func (l *lru) Used(e *Entry) {
	l.recency.Used(e)
	if e.Mark() == unproven {
		e.SetMark(proven)
		l.promoted()
	}
}

func (l *lru) Victim(now time.Time) (*Entry, Reason, error) {
	e := l.choose(l.oldest(), now.UnixNano())
	l.dropped(e.Mark())
	return e, [...]Reason{unproven: ReasonProbation, proven: ReasonCapacity, floodMark: ReasonFlood}[e.Mark()], nil
}

func (l *lru) Remove(e *Entry) {
	l.recency.Remove(e)
	if e.Mark() != proven {
		l.left()
	}
}

// relocated implements relocater.
func (l *lru) relocated(slots []uint32) {
	l.recency.relocated(slots)
	l.probation.relocated(slots)
}

// Broke makes probation learn from a session that should have been kept.
func (l *lru) Broke(mark uint8) { l.learn(mark) }
