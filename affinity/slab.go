package affinity

import "strings"

// slab holds the entries of one shard. An entry is known by its slot, a 32-bit
// number, which its id has as long as the slab does not grow. Entries hold no
// pointer, so the garbage collector has nothing to look at in them however many
// there are.
type slab struct {
	entries []Entry // first those that stand for lists, then those of the index
	index   index
	lists   int // of their slots the first is no list's: 0 means none
	most    int // buckets of the index

	pool  *pool[Entry] // has all that the slab can need
	shard int

	groups     []*group          // by Entry.group; the first is nil
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

// mostLists is how many lists a policy may have, and one.
const mostLists = 64

// slotsFor is the size of a slab for that many entries.
func slotsFor(entries int) int { return mostLists + bucketsFor(entries)*bucketSlots }

// newSlab returns a slab for that many entries at most. Its lists come before its
// entries: see open.
func newSlab(entries int, p *pool[Entry], shard int) slab {
	return slab{lists: 1, pool: p, shard: shard, most: bucketsFor(entries), groups: []*group{nil}, long: map[uint64]string{}}
}

// newList returns the slot of an entry that stands for a list.
func (s *slab) newList() uint32 {
	if s.entries != nil || s.lists == mostLists {
		panic("affinity: NewList is for NewPolicy, and for 63 lists")
	}
	s.lists++
	return uint32(s.lists - 1)
}

// open makes room for the first entries.
func (s *slab) open() {
	first := s.most
	for first > firstBuckets {
		first = (first + growth - 1) / growth
	}
	s.resize(first)
	for i := range s.lists {
		e := &s.entries[i]
		e.slot, e.prev, e.next = uint32(i), uint32(i), uint32(i)
	}
}

func (s *slab) resize(buckets int) {
	s.index = newIndex(buckets, uint32(s.lists))
	if n := s.lists + buckets*bucketSlots; buckets == s.most {
		s.entries = s.pool.part(s.shard)[:n]
	} else {
		s.entries = make([]Entry, n)
	}
}

// at is the entry in a slot.
func (s *slab) at(slot uint32) *Entry { return &s.entries[slot] }

// find returns the entry of an id, nil if there is none.
func (s *slab) find(id uint64) *Entry { return s.index.find(id, s.entries) }

// take puts an entry with an id that is not there in, linked to nothing but itself.
func (s *slab) take(facts Entry, key string) *Entry {
	slot := s.index.add(facts.id)
	facts.slot, facts.prev, facts.next = slot, slot, slot
	e := s.at(slot)
	*e = facts
	s.setKey(e, key)
	return e
}

// giveBack takes out an entry that is in no list.
func (s *slab) giveBack(e *Entry) {
	if e.keyLen == longKey {
		delete(s.long, e.id)
	}
	s.index.remove(e.id, e.slot)
	*e = Entry{}
}

// tight reports whether the slab has to grow for one more entry, and can.
func (s *slab) tight() bool { return s.index.full() && len(s.index.buckets) < s.most }

// grow enlarges the slab and returns the new slots of its entries by their old ones.
func (s *slab) grow() (slots []uint32) {
	old := s.entries
	s.resize(min(growth*len(s.index.buckets), s.most))
	slots = make([]uint32, len(old))
	for i := range old {
		switch {
		case i < s.lists:
			slots[i] = uint32(i)
		case old[i].group != 0:
			slots[i] = s.index.add(old[i].id)
		default:
			continue
		}
		s.entries[slots[i]] = old[i]
	}
	for _, slot := range slots {
		if slot != 0 {
			e := s.at(slot)
			e.slot, e.prev, e.next = slot, slots[e.prev], slots[e.next]
		}
	}
	for _, g := range s.groups[1:] {
		if g != nil {
			relocate(g.members[usedOnce], slots)
			relocate(g.members[usedMore], slots)
		}
	}
	return slots
}

// relocate replaces old slots by the new ones.
func relocate(of, slots []uint32) {
	for i, slot := range of {
		of[i] = slots[slot]
	}
}

// setKey keeps a copy of a key in its entry or, if it is long, beside it. The key may
// be a piece of a request's headers, which would stay in memory with it.
func (s *slab) setKey(e *Entry, key string) {
	if len(key) > len(e.key) {
		e.keyLen = longKey
		s.long[e.id] = strings.Clone(key)
		return
	}
	e.keyLen = uint8(len(key))
	copy(e.key[:], key)
}

// keyOf returns a copy of an entry's key.
func (s *slab) keyOf(e *Entry) string {
	if e.keyLen == longKey {
		return s.long[e.id]
	}
	return string(e.key[:e.keyLen])
}

// is tells an entry from another one whose key happens to have the same hash.
func (s *slab) is(e *Entry, svc *service, key string) bool {
	if e.keyLen == longKey {
		return s.long[e.id] == key && s.groupOf(e).service == svc
	}
	return string(e.key[:e.keyLen]) == key && s.groupOf(e).service == svc
}

// groupOf is the group of an entry in the table.
func (s *slab) groupOf(e *Entry) *group { return s.groups[e.group] }

func (s *slab) expired(e *Entry, now int64) bool {
	svc, idle := s.groupOf(e).service, now-e.lastSeen
	limit := svc.idleNanos()
	return idle > limit && idle > limit+svc.grace(e.lastSeen)
}

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
