package evict

// lruStrategy drops the least recently used entry, except that ids that were
// used only once are on probation: see segments.
type lruStrategy struct{}

func (lruStrategy) NewPolicy(room Room) Policy { return newLRU(room) }

type lru struct {
	recency
	segments
}

func newLRU(room Room) *lru { return &lru{recency: newRecency(room), segments: newSegments(room)} }

func (l *lru) Add(e *Entry) {
	l.recency.Add(e)
	l.admitted(e)
}

// Used also ends the entry's probation: its session came back.
func (l *lru) Used(e *Entry) {
	l.recency.Used(e)
	if e.Mark() != protected {
		e.SetMark(protected)
		l.promoted()
	}
}

// Renewed does not end the entry's probation, but puts one that was passed by back on it.
func (l *lru) Renewed(e *Entry) {
	l.recency.Renewed(e)
	if e.Mark() == passedBy {
		l.putBack(e)
	}
}

// Passed also takes a waiting entry out of those to choose from, so that the choice is
// among the others.
func (l *lru) Passed(e *Entry) {
	l.recency.Passed(e)
	if e.Mark() != protected {
		l.setAside(e)
	}
}

func (l *lru) Victim(now int64) (*Entry, Reason, error) {
	e := l.choose(l.oldest(), now)
	if e.Mark() == passedBy { // all others were, too
		e.SetMark(onProbation)
	}
	l.dropped(e.Mark())
	return e, [...]Reason{onProbation: ReasonProbation, protected: ReasonCapacity, floodMark: ReasonFlood}[e.Mark()], nil
}

func (l *lru) Remove(e *Entry) {
	l.recency.Remove(e)
	if e.Mark() != protected {
		l.left()
	}
}

// relocated implements relocater.
func (l *lru) relocated(slots []uint32) {
	l.recency.relocated(slots)
	l.segments.relocated(slots)
}

// Broke makes the segments learn from a session that should have been kept.
func (l *lru) Broke(mark uint8) { l.learn(mark) }
