package evict

import (
	"math"
	"math/bits"
)

// lfuStrategy drops the least frequently used entry, with aging: without it an
// entry that was busy long ago would never leave, and a new session never stay.
//
// It is LFU with dynamic aging (Arlitt et al., "Evaluating content management
// techniques for Web proxy caches", 2000) with the logarithm of the frequency:
// an entry's priority is the table's age at its last use plus one for each
// doubling of its uses, and the age is the priority of the last victim. Among
// equals the least recently used one goes.
type lfuStrategy struct{}

func (lfuStrategy) NewPolicy(room Room) Policy {
	l := &lfu{}
	for i := range l.ring {
		l.ring[i] = room.NewList()
	}
	return l
}

const (
	// maxLevel is the priority that 128 uses and more give.
	maxLevel = 8
	// ringSize is a power of two above maxLevel: the priorities in use lie in
	// age..age+maxLevel, so each has a list of its own.
	ringSize = 16
)

type lfu struct {
	age  uint64
	ring [ringSize]*List // by priority, most recently used first
}

func (l *lfu) Add(e *Entry)     { l.levelOf(e.Requests).PushFront(e) }
func (l *lfu) Used(e *Entry)    { l.levelOf(e.Requests + 1).MoveToFront(e) }
func (l *lfu) Renewed(e *Entry) { l.levelOf(e.Requests).MoveToFront(e) }

// Passed gives the entry the highest priority, until it is renewed.
func (l *lfu) Passed(e *Entry) { l.levelOf(math.MaxUint32).MoveToFront(e) }

func (l *lfu) Remove(e *Entry) { l.ring[0].Remove(e) }

// levelOf is where a number of uses belongs at the present age.
func (l *lfu) levelOf(uses uint32) *List {
	level := uint64(max(min(bits.Len32(uses), maxLevel), 1))
	return l.ring[(l.age+level)%ringSize]
}

// Victim is the entry of the lowest priority, which becomes the age.
func (l *lfu) Victim(int64) (*Entry, Reason, error) {
	for {
		if e := l.ring[l.age%ringSize].Back(); e == nil {
			l.age++
		} else if e.CameBack() {
			return e, ReasonCapacity, nil
		} else {
			return e, ReasonProbation, nil
		}
	}
}
