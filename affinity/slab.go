package affinity

import (
	"strings"

	"github.com/stateful-route/stateful-route/affinity/evict"
)

// slab holds the entries of one shard. An entry is known by its slot, a 32-bit
// number, which its id has as long as the slab does not grow. Entries hold no
// pointer, so the garbage collector has nothing to look at in them however many
// there are.
//
//	len(entries) = firstSlot + bucketSlots·len(index.buckets)
type slab struct {
	entries []entry
	index   index
	most    int // buckets of the index

	groups     []*group          // by Entry.Group; the first is nil
	freeGroups []uint32          // numbers to be used again
	long       map[uint64]string // keys that an entry has no room for, by id
}

const (
	// firstBuckets is at most the size of an index with little in it.
	firstBuckets = 16
	// growth is how many times larger the index becomes when it is full. More
	// would be memory for nothing, less entries to be moved by one request: the
	// last time some 3,000, in a millisecond.
	growth = 4
)

// newSlab returns a slab for that many entries at most.
func newSlab(entries int) slab {
	s := slab{most: bucketsFor(entries), groups: []*group{nil}, long: map[uint64]string{}}
	first := s.most
	for first > firstBuckets {
		first = (first + growth - 1) / growth
	}
	s.resize(first)
	return s
}

func (s *slab) resize(buckets int) {
	s.index = newIndex(buckets)
	s.entries = make([]entry, firstSlot+buckets*bucketSlots)
}

func (s *slab) len() int { return s.index.n }

// at is the entry in a slot.
func (s *slab) at(slot uint32) *entry { return &s.entries[slot] }

// At implements evict.Entries.
func (s *slab) At(slot uint32) *evict.Entry { return &s.entries[slot].Entry }

// find returns the entry of an id, nil if there is none.
func (s *slab) find(id uint64) *entry { return s.index.find(id, s.entries) }

// take puts an entry with an id that is not there in.
func (s *slab) take(facts entry, key string) *entry {
	facts.Slot = s.index.add(facts.ID)
	e := s.at(facts.Slot)
	*e = facts
	s.setKey(e, key)
	return e
}

// giveBack takes out an entry that no policy knows of.
func (s *slab) giveBack(e *entry) {
	if e.keyLen == longKey {
		delete(s.long, e.ID)
	}
	s.index.remove(e.ID, e.Slot)
	*e = entry{}
}

// tight reports whether the slab has to grow for one more entry, and can.
func (s *slab) tight() bool { return s.index.full() && len(s.index.buckets) < s.most }

// grow enlarges the slab and returns the new slots of its entries by their old ones.
func (s *slab) grow() (slots []uint32) {
	old := s.entries
	s.resize(min(growth*len(s.index.buckets), s.most))
	slots = make([]uint32, len(old))
	for i := range old {
		if old[i].Group != 0 {
			slots[i] = s.index.add(old[i].ID)
			s.entries[slots[i]] = old[i]
		}
	}
	for _, slot := range slots {
		if slot != 0 {
			s.at(slot).Relocate(slot, slots)
		}
	}
	for _, g := range s.groups[1:] {
		if g != nil {
			g.relocate(slots)
		}
	}
	return slots
}

// setKey keeps a copy of a key in its entry or, if it is long, beside it. The key may
// be a piece of a request's headers, which would stay in memory with it.
func (s *slab) setKey(e *entry, key string) {
	if len(key) > len(e.key) {
		e.keyLen = longKey
		s.long[e.ID] = strings.Clone(key)
		return
	}
	e.keyLen = uint8(len(key))
	copy(e.key[:], key)
}

// keyOf returns a copy of an entry's key.
func (s *slab) keyOf(e *entry) string {
	if e.keyLen == longKey {
		return s.long[e.ID]
	}
	return string(e.key[:e.keyLen])
}

// is tells an entry from another one whose key happens to have the same hash.
func (s *slab) is(e *entry, svc *service, key string) bool {
	if e.keyLen == longKey {
		return s.long[e.ID] == key && s.groupOf(e).service == svc
	}
	return string(e.key[:e.keyLen]) == key && s.groupOf(e).service == svc
}

// groupOf is the group of an entry in the table.
func (s *slab) groupOf(e *entry) *group { return s.groups[e.Group] }

// expired reports whether an entry has been idle for too long. While its session is in
// use it is not idle.
func (s *slab) expired(e *entry, now int64) bool {
	return now-e.LastSeen > s.groupOf(e).service.idleNanos() && e.seat&inUseFlag == 0
}

// Expired implements evict.Entries.
func (s *slab) Expired(e *evict.Entry, now int64) bool { return s.expired(s.at(e.Slot), now) }

// number gives a group its number.
func (s *slab) number(g *group) {
	if n := len(s.freeGroups); n > 0 {
		g.number = s.freeGroups[n-1]
		s.freeGroups = s.freeGroups[:n-1]
		s.groups[g.number] = g
		return
	}
	g.number = uint32(len(s.groups))
	s.groups = append(s.groups, g)
}

// forget takes the number back from a group without members.
func (s *slab) forget(g *group) {
	s.groups[g.number] = nil
	s.freeGroups = append(s.freeGroups, g.number)
}
