package affinity

import (
	"math"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Entry is a binding as the table holds it. A Policy may read it while it is
// called; the rest belongs to the shard, and everything to its lock. It has 96
// bytes, which lie in two cache lines wherever they begin, and no pointer: there may
// be millions.
type Entry struct {
	id         uint64
	created    int64  // by the table's clock, see monotonic.Clock
	lastSeen   int64  // the same
	prev, next uint32 // slots; see List
	group      uint32 // the pod, in slab.groups; 0 for an entry that is not in the table
	requests   uint32
	seat       uint32 // index in a list of group.members << seatShift | flags | the policy's mark
	placed     uint32 // recency.placed when it was put in front last, or was to be
	slot       uint32 // its own
	keyLen     uint8  // or longKey
	key        [43]byte
}

// longKey stands for the length of a key that is in slab.long.
const longKey = 255

const (
	markMask  = 1<<4 - 1
	staleFlag = 1 << 4 // the journal does not know of the last uses
	movedFlag = 1 << 5 // the shard knows a previous pod
	laterFlag = 1 << 6 // in recency.later
	onceFlag  = 1 << 7 // its session was used only once, and no operator vouches for it
	seatShift = 8
	flagsMask = 1<<seatShift - 1
)

// ID is the hash of service and key that the entry is found by.
func (e *Entry) ID() uint64 { return e.id }

// Requests counts the uses of the binding before the present one.
func (e *Entry) Requests() uint64 { return uint64(e.requests) }

// LastSeen is when the binding was last used, before the present use, by the table's
// clock: to be compared with what Policy.Victim is told.
func (e *Entry) LastSeen() time.Time { return time.Unix(0, e.lastSeen) }

// Proven reports whether the session came back at least once.
func (e *Entry) Proven() bool { return e.requests > 1 }

// Mark is what the policy noted on the entry with SetMark; 0 at first.
func (e *Entry) Mark() uint8 { return uint8(e.seat & markMask) }

// SetMark lets a policy keep a number from 0 to 15 on the entry.
func (e *Entry) SetMark(m uint8) { e.seat = e.seat&^markMask | uint32(m)&markMask }

func (e *Entry) index() int     { return int(e.seat >> seatShift) }
func (e *Entry) setIndex(i int) { e.seat = uint32(i)<<seatShift | e.seat&flagsMask }

// used counts a use. It reports whether the journal should hear of it: when the
// session came back for the first time, for that is what it must prove, and when
// a journal step, counted from the binding's creation, passed since the last use.
func (e *Entry) used(now int64, s *service) (journal bool) {
	journal = e.requests == 1
	if e.requests < math.MaxUint32 {
		e.requests++
	}
	if now > e.lastSeen {
		shift := s.journalShift()
		journal = journal || (now-e.created)>>shift != (e.lastSeen-e.created)>>shift
		e.lastSeen = now
	}
	return journal
}

// bindingLocked returns the binding of an entry whose key the caller has. Its times have
// a monotonic reading where the table's have: a journal may write them after the wall
// clock was set.
func (sh *shard) bindingLocked(e *Entry, key string) (b statefulroute.Binding) {
	sh.describeLocked(&b, e, key)
	b.Created, b.LastSeen = sh.total.clock.Time(e.created), sh.total.clock.Time(e.lastSeen)
	return b
}

// describeLocked is bindingLocked, for showing it, into a binding that is zero: it has 128
// bytes, and every function that hands one on copies it.
func (sh *shard) describeLocked(b *statefulroute.Binding, e *Entry, key string) {
	g := sh.slab.groupOf(e)
	b.Service, b.Key, b.Pod = g.service.name, key, g.pod.name
	b.Created, b.LastSeen = sh.total.clock.Wall(e.created), sh.total.clock.Wall(e.lastSeen)
	b.Requests = uint64(e.requests)
	if e.seat&movedFlag != 0 {
		b.PreviousPod = sh.previous[e.id].Value()
	}
}

// tellLocked has the journal keep the entry as it is now. Its key is the table's own
// copy: a request's may be a piece of long headers, and the journal keeps it.
func (sh *shard) tellLocked(e *Entry) {
	e.seat &^= staleFlag
	if sh.total.journal != nil {
		sh.total.journal.Put(sh.bindingLocked(e, sh.slab.keyOf(e)))
	}
}
