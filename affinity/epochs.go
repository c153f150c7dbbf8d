package affinity

import (
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Epochs only have to grow for each key, and a key that is forgotten leaves nothing behind
// by which its last one would be known. So every shard keeps one number, the highest epoch
// that has left it, and a binding that is made begins above that. As only what has left
// counts, and not what was given, epochs stay with the clock however many sessions there
// are, but for as long as the wall clock is behind what it has been.

// nextEpochLocked is the epoch of a pod that becomes a session's now, above the last one
// and above all that the key had before.
func (sh *shard) nextEpochLocked(last uint64, now int64) uint64 {
	wall := sh.total.clock.Wall(now).UnixMilli()
	return max(uint64(max(wall, 0)), last+1, sh.forgotten+1)
}

// Apply makes b the key's binding if its epoch is higher than that of the binding in
// force, or if there is none, and reports whether it did: so whoever is told of changes by
// somebody else may be told late, twice and in any order. It is for a table that holds what
// another store decides. A binding without an epoch is not taken. ErrFull: the table has no
// room. Nothing is counted as a use; times are as for Restore.
func (t *Table) Apply(b statefulroute.Binding, now time.Time) (applied bool, err error) {
	if b.Epoch == 0 {
		return false, nil
	}
	s := t.services.getOrAdd(b.Service)
	sh, id := t.at(s, b.Key)
	at := t.nanos(now)
	facts := factsOf(&b, id, min(nanosOf(b.LastSeen, at, now), at), at, now)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e, err := sh.applyLocked(s, facts, &b, at)
	if e != nil {
		sh.tellLocked(e)
	}
	return e != nil, err
}

// applyLocked is Apply, and returns the entry; nil if it was not applied.
func (sh *shard) applyLocked(s *service, facts entry, b *statefulroute.Binding, now int64) (*entry, error) {
	e := sh.slab.find(facts.ID)
	if e != nil && !sh.slab.is(e, s, b.Key) {
		e = nil
	}
	switch {
	case e != nil && e.epoch >= facts.epoch:
		return nil, nil
	case e == nil || sh.expiredLocked(e, now):
		return sh.insertKnownLocked(s, facts, b, now)
	}
	sh.catchUpLocked(e, now)
	if sh.slab.groupOf(e).pod.name != b.Pod {
		sh.changePodLocked(e, b.Pod, facts.epoch)
	}
	if facts.Requests > e.Requests {
		sh.policy.Used(&e.Entry)
		sh.cameBackLocked(e)
		e.Requests = facts.Requests
	}
	if b.PreviousPod != "" {
		sh.setPreviousLocked(e, b.PreviousPod)
	}
	e.epoch, e.created, e.LastSeen = facts.epoch, facts.created, max(e.LastSeen, facts.LastSeen)
	return e, nil
}

// insertKnownLocked puts in a binding that was made elsewhere or before.
func (sh *shard) insertKnownLocked(s *service, facts entry, b *statefulroute.Binding, now int64) (*entry, error) {
	e, err := sh.insertLocked(facts, s, b.Key, b.Pod, now)
	if err != nil {
		sh.counts.refused++
		return nil, err
	}
	sh.ghosts.take(facts.ID)
	if b.PreviousPod != "" {
		sh.setPreviousLocked(e, b.PreviousPod)
	}
	if e.Requests > 1 {
		sh.policy.Used(&e.Entry)
	}
	return e, nil
}
