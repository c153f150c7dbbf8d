package affinity

import (
	"math"
	"time"
	"unique"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Entry is a binding as the table holds it. A Policy may read it while it is
// called; the rest belongs to the shard's lock. It is 64 bytes: there may be
// millions.
type Entry struct {
	// Set once, so that they may be read without the lock.
	id  uint64
	key string

	// Guarded by the shard's lock.
	group    *group // the pod; nil once the entry left the table
	previous unique.Handle[string]
	created  int64 // Unix nanoseconds
	lastSeen int64 // Unix nanoseconds
	requests uint32
	seat     uint32 // index in group.members << markBits | the policy's mark
}

const (
	markBits = 4
	markMask = 1<<markBits - 1
)

// ID is the hash of service and key that the entry is found by.
func (e *Entry) ID() uint64 { return e.id }

// Requests counts the uses of the binding before the present one.
func (e *Entry) Requests() uint64 { return uint64(e.requests) }

// LastSeen is when the binding was last used, before the present use.
func (e *Entry) LastSeen() time.Time { return time.Unix(0, e.lastSeen) }

// Proven reports whether the session came back at least once.
func (e *Entry) Proven() bool { return e.requests > 1 }

// Mark is what the policy noted on the entry with SetMark; 0 at first.
func (e *Entry) Mark() uint8 { return uint8(e.seat & markMask) }

// SetMark lets a policy keep a number from 0 to 15 on the entry.
func (e *Entry) SetMark(m uint8) { e.seat = e.seat&^markMask | uint32(m)&markMask }

func (e *Entry) index() int     { return int(e.seat >> markBits) }
func (e *Entry) setIndex(i int) { e.seat = uint32(i)<<markBits | e.seat&markMask }

// Expired reports whether the binding has been idle for too long at now.
func (e *Entry) Expired(now time.Time) bool { return e.expiredAt(now.UnixNano()) }

func (e *Entry) expiredAt(now int64) bool {
	return now-e.lastSeen > e.group.service.idleNanos()
}

// is tells an entry from another one whose key happens to have the same hash.
func (e *Entry) is(s *service, key string) bool {
	return e.key == key && e.group.service == s
}

// used counts a use. It reports whether the journal should hear of it: when a
// multiple of an eighth of the idle timeout, counted from the binding's
// creation, passed since the last use.
func (e *Entry) used(now int64) (journal bool) {
	if e.requests < math.MaxUint32 {
		e.requests++
	}
	if now <= e.lastSeen {
		return false
	}
	step := e.group.service.journalStep()
	journal = (now-e.created)/step != (e.lastSeen-e.created)/step
	e.lastSeen = now
	return journal
}

func (e *Entry) binding() statefulroute.Binding {
	b := statefulroute.Binding{
		Service:  e.group.service.name,
		Key:      e.key,
		Pod:      e.group.pod.name,
		Created:  time.Unix(0, e.created),
		LastSeen: time.Unix(0, e.lastSeen),
		Requests: uint64(e.requests),
	}
	if e.previous != (unique.Handle[string]{}) {
		b.PreviousPod = e.previous.Value()
	}
	return b
}
