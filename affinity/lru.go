package affinity

// The marks that lru keeps on entries.
const (
	unproven uint8 = iota
	proven
	floodMark // an unproven entry that was dropped to make way for its like
)

// lruStrategy drops the least recently used entry, except that ids that were
// used only once are on probation: see probation.
type lruStrategy struct{}

func (lruStrategy) NewPolicy(capacity int) Policy {
	return &lru{recency: newRecency(capacity), probation: newProbation(capacity)}
}

type lru struct {
	recency
	probation
}

// Get also ends the entry's probation: its session came back.
func (l *lru) Get(id uint64) *Entry {
	e := l.recency.Get(id)
	if e != nil && e.Mark() == unproven {
		e.SetMark(proven)
		l.promoted()
	}
	return e
}

func (l *lru) Add(e *Entry) (victim *Entry, why Reason, err error) {
	if l.full() {
		victim = l.choose(l.oldest(), e.lastSeen)
		if why = ReasonProbation; victim.Mark() == proven {
			why = ReasonCapacity
		}
		l.Remove(victim)
		l.dropped(victim.Mark())
	}
	l.entries.Add(e.id, e)
	l.admitted(e)
	return victim, why, nil
}

func (l *lru) Remove(e *Entry) {
	l.recency.Remove(e)
	if e.Mark() != proven {
		l.left()
	}
}

// Broke makes probation learn from a session that should have been kept.
func (l *lru) Broke(mark uint8) { l.learn(mark) }
