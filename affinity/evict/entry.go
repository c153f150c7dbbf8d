package evict

// Entry is what a policy knows of a binding. The table embeds it in a record of its
// own, of which there may be millions: it has 40 bytes and no pointer. A policy reads
// the exported fields; the table writes them.
type Entry struct {
	// ID is the hash of service and key.
	ID uint64
	// LastSeen is when the binding was last used, by the table's clock in nanoseconds.
	// That clock goes on evenly when the wall clock is set.
	LastSeen int64
	// Slot is the number by which the table finds the entry, above 0. The entry gets
	// another one when the shard grows, so a policy keeps its entries in lists and not
	// by their slots.
	Slot uint32
	// Group is the table's number of the entry's service and pod; 0 means that the
	// entry is in the table no more.
	Group uint32
	// Requests counts the uses of the binding, up to what it can hold.
	Requests uint32

	prev, next uint32 // slots, see List; 0: the entry is in no list
	order      uint32 // recency's place << orderShift | pendingFlag | mark
}

const (
	markMask    = 1<<4 - 1
	pendingFlag = 1 << 4 // in recency.pending
	orderShift  = 5
	// orders is how many values a place in the order has.
	orders = 1 << (32 - orderShift)
)

// CameBack reports whether the session was used more than once.
func (e *Entry) CameBack() bool { return e.Requests > 1 }

// Mark is what the policy noted on the entry with SetMark; 0 at first.
func (e *Entry) Mark() uint8 { return uint8(e.order & markMask) }

// SetMark lets a policy keep a number from 0 to 15 on the entry. The table hands it
// back to a Learner when the session comes back after it was evicted.
func (e *Entry) SetMark(m uint8) { e.order = e.order&^markMask | uint32(m)&markMask }

func (e *Entry) place() uint32 { return e.order >> orderShift }
func (e *Entry) setPlace(n uint32) {
	e.order = n<<orderShift | e.order&(1<<orderShift-1)
}
