package evict

// Entries is how a policy reads the entries of its shard.
type Entries interface {
	// At returns the entry in a slot.
	At(slot uint32) *Entry
	// Expired reports whether a binding has been idle for too long at now.
	Expired(e *Entry, now int64) bool
}

// Room is what a policy is given of its shard.
type Room struct {
	Entries
	// Capacity is how many entries the shard will hold, or nearly so.
	Capacity int

	heads *heads
}

// NewRoom returns the room of a shard with these entries.
func NewRoom(entries Entries, capacity int) Room {
	return Room{Entries: entries, Capacity: capacity, heads: &heads{entries: entries}}
}

// Relocate is for the table: its entries have new slots, given by the old ones. The
// table has told the entries.
func (r Room) Relocate(p Policy, slots []uint32) {
	for i := range r.heads.lists {
		r.heads.lists[i].relocateLinks(slots)
	}
	if p, ok := p.(relocater); ok {
		p.relocated(slots)
	}
}

// relocater is a Policy that knows entries by their slots.
type relocater interface {
	relocated(slots []uint32)
}

// Relocate is for the table: the entry was moved to a slot, and others to new ones.
func (e *Entry) Relocate(slot uint32, slots []uint32) {
	e.Slot = slot
	e.relocateLinks(slots)
}

func (e *Entry) relocateLinks(slots []uint32) {
	for _, link := range []*uint32{&e.prev, &e.next} {
		if *link&headFlag == 0 {
			*link = slots[*link]
		}
	}
}

// heads are the entries that stand for lists. Their slots have headFlag.
type heads struct {
	entries Entries
	lists   []Entry
}

const headFlag = 1 << 31

func (h *heads) at(slot uint32) *Entry {
	if slot&headFlag != 0 {
		return &h.lists[slot&^headFlag]
	}
	return h.entries.At(slot)
}
