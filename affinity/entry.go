package affinity

import (
	"math"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/evict"
)

// entry is a binding as the table holds it: what a policy knows of it, and the rest.
// All of it is guarded by the shard's lock. It has 104 bytes and no pointer: there may be
// millions.
type entry struct {
	evict.Entry        // its Group is the pod, in slab.groups
	created     int64  // by the table's clock, see monotonic.Clock
	epoch       uint64 // see epochs; never 0 in the table
	seat        uint32 // index in a list of group.members << seatShift | flags
	keyLen      uint8  // or longKey
	key         [43]byte
}

// longKey stands for the length of a key that is in slab.long.
const longKey = 255

const (
	staleFlag    = 1 << iota // the journal does not know of the last uses
	movedFlag                // the shard knows a previous pod
	onceFlag                 // its session was used only once, and no operator vouches for it
	inUseFlag                // its session has requests in flight, see shard.inUse
	mirroredFlag             // the mirror may show it

	seatShift = 8
	flagsMask = 1<<seatShift - 1
)

func (e *entry) index() int     { return int(e.seat >> seatShift) }
func (e *entry) setIndex(i int) { e.seat = uint32(i)<<seatShift | e.seat&flagsMask }

// used counts a use. It reports whether the journal should hear of it: when the
// session came back for the first time, for that is what it must prove, and when
// a journal step, counted from the binding's creation, passed since the last use.
func (e *entry) used(now int64, s *service) (journal bool) {
	journal = e.Requests == 1
	if e.Requests < math.MaxUint32 {
		e.Requests++
	}
	return e.seen(now, s) || journal
}

// seen counts the session as seen. It reports whether a journal step passed since it was
// seen last.
func (e *entry) seen(now int64, s *service) (journal bool) {
	if now <= e.LastSeen {
		return false
	}
	shift := s.journalShift()
	journal = (now-e.created)>>shift != (e.LastSeen-e.created)>>shift
	e.LastSeen = now
	return journal
}

// bindingLocked returns the binding of an entry whose key the caller has. Its times have
// a monotonic reading where the table's have: a journal may write them after the wall
// clock was set.
func (sh *shard) bindingLocked(e *entry, key string) (b statefulroute.Binding) {
	sh.describeLocked(&b, e, key)
	b.Created, b.LastSeen = sh.total.clock.Time(e.created), sh.total.clock.Time(e.LastSeen)
	return b
}

// describeLocked is bindingLocked, for showing it, into a binding that is zero: it has 136
// bytes, and every function that hands one on copies it.
func (sh *shard) describeLocked(b *statefulroute.Binding, e *entry, key string) {
	g := sh.slab.groupOf(e)
	b.Service, b.Key, b.Pod = g.service.name, key, g.pod.name
	b.Created, b.LastSeen = sh.total.clock.Wall(e.created), sh.total.clock.Wall(e.LastSeen)
	b.Epoch, b.Requests = e.epoch, uint64(e.Requests)
	if e.seat&movedFlag != 0 {
		b.PreviousPod = sh.previous[e.ID].Value()
	}
	if e.seat&inUseFlag != 0 {
		b.InFlight = int(sh.inUse[e.ID])
	}
}

// tellLocked has the journal keep the entry as it is now. Its key is the table's own
// copy: a request's may be a piece of long headers, and the journal keeps it.
func (sh *shard) tellLocked(e *entry) {
	e.seat &^= staleFlag
	if sh.total.journal != nil {
		sh.total.journal.Put(sh.bindingLocked(e, sh.slab.keyOf(e)))
	}
}
