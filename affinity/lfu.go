package affinity

import "math/bits"

// lfuStrategy drops the least frequently used entry, with aging: without it an
// entry that was busy long ago would never leave, and a new session never stay.
//
// It is LFU with dynamic aging (Arlitt et al., "Evaluating content management
// techniques for Web proxy caches", 2000) with the logarithm of the frequency:
// an entry's priority is the table's age at its last use plus one for each
// doubling of its uses, and the age is the priority of the last victim. Among
// equals the least recently used one goes.
type lfuStrategy struct{}

func (lfuStrategy) NewPolicy(capacity int) Policy {
	l := &lfu{nodes: map[uint64]*lfuNode{}, capacity: capacity}
	for i := range l.ring {
		l.ring[i].next, l.ring[i].prev = &l.ring[i], &l.ring[i]
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
	nodes    map[uint64]*lfuNode
	capacity int
	age      uint64
	ring     [ringSize]lfuNode // of lists by priority, most recently used first
}

type lfuNode struct {
	entry      *Entry
	prev, next *lfuNode
}

func (l *lfu) Get(id uint64) *Entry {
	n := l.nodes[id]
	if n == nil {
		return nil
	}
	n.unlink()
	l.link(n, n.entry.requests+1)
	return n.entry
}

// link puts a node where its number of uses belongs at the present age.
func (l *lfu) link(n *lfuNode, uses uint32) {
	level := uint64(max(min(bits.Len32(uses), maxLevel), 1))
	head := &l.ring[(l.age+level)%ringSize]
	n.prev, n.next = head, head.next
	n.prev.next, n.next.prev = n, n
}

func (n *lfuNode) unlink() { n.prev.next, n.next.prev = n.next, n.prev }

func (l *lfu) Peek(id uint64) *Entry {
	if n := l.nodes[id]; n != nil {
		return n.entry
	}
	return nil
}

func (l *lfu) Add(e *Entry) (victim *Entry, why Reason, err error) {
	if len(l.nodes) >= l.capacity {
		victim = l.lowest()
		l.Remove(victim)
	}
	n := &lfuNode{entry: e}
	l.nodes[e.id] = n
	l.link(n, e.requests)
	if victim != nil && !victim.Proven() {
		return victim, ReasonProbation, nil
	}
	return victim, ReasonCapacity, nil
}

// lowest returns the entry of the lowest priority, which becomes the age.
func (l *lfu) lowest() *Entry {
	for {
		head := &l.ring[l.age%ringSize]
		if head.prev != head {
			return head.prev.entry
		}
		l.age++
	}
}

func (l *lfu) Remove(e *Entry) {
	l.nodes[e.id].unlink()
	delete(l.nodes, e.id)
}

func (l *lfu) Len() int { return len(l.nodes) }
