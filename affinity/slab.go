package affinity

// slab holds the entries of one shard. An entry is known by its slot, a 32-bit
// number, and never moves. Entries hold no pointer, so the garbage collector has
// nothing to look at in them however many there are.
type slab struct {
	chunks [][]Entry
	free   uint32 // the first of the free slots, which are chained by next; 0: none
	fresh  uint32 // the first slot that was never used

	groups     []*group          // by Entry.group; the first is nil
	freeGroups []uint32          // numbers to be used again
	long       map[uint64]string // keys that an entry has no room for, by id
}

// chunkSize entries are allocated at once.
const chunkSize = 256

func newSlab() slab { return slab{fresh: 1, groups: []*group{nil}, long: map[uint64]string{}} }

// at is the entry in a slot. The chunks are slices, not pointers to arrays: for those
// the compiler checks the pointer by reading an array's first byte, which is one more
// wait for memory.
func (s *slab) at(slot uint32) *Entry { return &s.chunks[slot/chunkSize][slot%chunkSize] }

// take returns an empty entry that is linked to nothing but itself. Slot 0 is
// never given away: it means none.
func (s *slab) take() (slot uint32, e *Entry) {
	if slot = s.free; slot != 0 {
		e = s.at(slot)
		s.free = e.next
	} else {
		slot = s.fresh
		s.fresh++
		if int(slot/chunkSize) == len(s.chunks) {
			s.chunks = append(s.chunks, make([]Entry, chunkSize))
		}
		e = s.at(slot)
	}
	e.prev, e.next = slot, slot
	return slot, e
}

// giveBack frees the slot of an entry that is in no list.
func (s *slab) giveBack(e *Entry) {
	if e.keyLen == longKey {
		delete(s.long, e.id)
	}
	slot := s.slotOf(e)
	*e = Entry{next: s.free}
	s.free = slot
}

// slotOf is what the entry before it in its list, or it itself, calls it.
func (s *slab) slotOf(e *Entry) uint32 { return s.at(e.prev).next }

// setKey keeps a key in its entry or, if it is long, beside it.
func (s *slab) setKey(e *Entry, key string) {
	if len(key) > len(e.key) {
		e.keyLen = longKey
		s.long[e.id] = key
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
