package affinity

import (
	"sync"
	"sync/atomic"
	"unique"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/evict"
	"github.com/stateful-route/stateful-route/internal/monotonic"
)

// shard is an independent part of the table. Every method whose name ends in
// Locked needs mu.
type shard struct {
	// What every request writes comes first, so that it is one cache line that the
	// cores take from each other.
	mu     sync.Mutex
	counts counts

	slab     slab
	room     evict.Room
	policy   evict.Policy
	groups   map[groupKey]*group
	previous map[uint64]unique.Handle[string] // of entries with movedFlag, by id
	ghosts   ghosts
	renewer  evict.Renewer     // the policy, if it is one
	inUse    map[uint64]uint32 // requests in flight, of the ids that have any

	limit int    // of entries here
	total *total // of all shards

	searchAfter int64 // nothing expired is to be found before

	forgotten uint64 // no epoch of a binding that has left the shard is higher

	// The shards lie in one slice: two locks must not share a cache line.
	_ [64]byte
}

// total is what the shards have in common. It counts the entries of all, so that
// keys that spread unevenly over the shards do not cost bindings before the table is
// full.
type total struct {
	n        atomic.Int64
	capacity int64
	numbers  *podNumbers
	journal  Journal // may be nil
	mirror   Mirror  // nil where no entry has mirroredFlag
	clock    *monotonic.Clock

	forgetEvicted bool
}

// add counts one more entry, if there is room for it.
func (t *total) add() bool {
	if t.n.Load() >= t.capacity {
		return false // the usual case, which costs the other cores nothing
	}
	if t.n.Add(1) <= t.capacity {
		return true
	}
	t.n.Add(-1)
	return false
}

// lookup is the path of every request of a bound session.
func (sh *shard) lookup(b *statefulroute.Binding, s *service, id uint64, key string, now int64) (ok bool) {
	sh.mu.Lock()
	if e := sh.useLocked(s, id, key, now); e != nil {
		sh.describeLocked(b, e, key)
		ok = true
	} else {
		ok = sh.restoreGhostLocked(b, s, id, key, now)
	}
	if ok {
		sh.counts.hits++
	} else {
		sh.counts.misses++
	}
	sh.mu.Unlock()
	return ok
}

// miss counts a look-up in a service that has never had a binding.
func (sh *shard) miss() {
	sh.mu.Lock()
	sh.counts.misses++
	sh.mu.Unlock()
}

// useLocked finds the live entry of key and counts the use.
func (sh *shard) useLocked(s *service, id uint64, key string, now int64) *entry {
	e := sh.slab.find(id)
	if e == nil || !sh.slab.is(e, s, key) {
		return nil
	}
	if sh.catchUpLocked(e, now); sh.slab.expired(e, now) {
		sh.removeLocked(e, &sh.counts.expired)
		return nil
	}
	sh.policy.Used(&e.Entry)
	sh.cameBackLocked(e)
	if e.seat |= staleFlag; e.used(now, s) {
		sh.tellLocked(e)
	}
	return e
}

// peekLocked finds the live entry of key and leaves it as it is, but for the uses by way of
// the mirror.
func (sh *shard) peekLocked(s *service, id uint64, key string, now int64) *entry {
	e := sh.slab.find(id)
	if e == nil || !sh.slab.is(e, s, key) {
		return nil
	}
	if sh.catchUpLocked(e, now); sh.slab.expired(e, now) {
		return nil
	}
	return e
}

func (sh *shard) claim(b *statefulroute.Binding, s *service, id uint64, key, podName string, now int64) (won bool, err error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e := sh.useLocked(s, id, key, now); e != nil {
		sh.describeLocked(b, e, key)
		return false, nil
	}
	// It may have been bound and evicted since the caller looked.
	if sh.restoreGhostLocked(b, s, id, key, now) {
		return false, nil
	}
	e, err := sh.bindLocked(s, id, key, podName, now)
	if err != nil {
		return false, err
	}
	sh.describeLocked(b, e, key)
	return true, nil
}

// bindLocked makes the binding of a session that has none.
func (sh *shard) bindLocked(s *service, id uint64, key, podName string, now int64) (*entry, error) {
	old := sh.ghosts.take(id)
	known := sh.aliveLocked(old, s, id, now)
	if known {
		sh.counts.broken++
		if old.pod() != 0 { // else it was refused before
			sh.learnLocked(old)
		}
	}
	e, err := sh.insertLocked(entry{Entry: evict.Entry{ID: id, LastSeen: now, Requests: 1}, created: now}, s, key, podName, now)
	if err != nil {
		sh.counts.refused++
		if !known {
			old = newGhost(id, 0, now, false, 0)
		}
		sh.ghosts.put(id, old)
		return nil, err
	}
	sh.tellLocked(e)
	return e, nil
}

// insertLocked puts a new entry in, at the cost of another one if need be.
func (sh *shard) insertLocked(facts entry, s *service, key, podName string, now int64) (*entry, error) {
	if other := sh.slab.find(facts.ID); other != nil {
		// Two keys with one 64-bit hash, or an expired entry of this key: an
		// entry is found by its hash alone, so only one can stay.
		sh.evictLocked(other, evict.ReasonCollision, now)
	} else if err := sh.makeRoomLocked(now); err != nil {
		return nil, err
	}
	if sh.slab.tight() {
		sh.room.Relocate(sh.policy, sh.slab.grow())
	}
	facts.seat = sh.inUseLocked(facts.ID)
	if facts.epoch == 0 { // known only now: what made room may have been this key's
		facts.epoch = sh.nextEpochLocked(0, now)
	}
	if facts.Requests == 1 {
		facts.seat |= onceFlag
	}
	e := sh.slab.take(facts, key)
	sh.joinLocked(e, e.Slot, s, podName)
	sh.policy.Add(&e.Entry)
	sh.counts.inserts++
	return e, nil
}

// removeLocked takes an entry out and counts it with counter.
func (sh *shard) removeLocked(e *entry, counter *uint64) {
	sh.total.n.Add(-1)
	sh.takeOutLocked(e, counter)
}

// takeOutLocked is removeLocked of an entry whose place is given to another.
func (sh *shard) takeOutLocked(e *entry, counter *uint64) {
	sh.withdrawLocked(e)
	*counter++
	sh.forgotten = max(sh.forgotten, e.epoch)

	sh.policy.Remove(&e.Entry)
	if sh.total.journal != nil {
		sh.total.journal.Delete(sh.slab.groupOf(e).service.name, sh.slab.keyOf(e))
	}
	if e.seat&movedFlag != 0 {
		delete(sh.previous, e.ID)
	}
	sh.leaveLocked(e)
	sh.slab.giveBack(e)
}

func (sh *shard) rebind(s *service, id uint64, old *statefulroute.Binding, to string, now int64) (statefulroute.Binding, bool, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	// The look-up that found the pod lost has counted this request.
	e := sh.peekLocked(s, id, old.Key, now)
	if e == nil {
		return sh.rebindGhostLocked(s, id, old.Key, old.Pod, to, now)
	}
	if !sh.isLocked(e, old) {
		return sh.bindingLocked(e, old.Key), false, nil
	}
	sh.counts.rebinds++
	return sh.reseatLocked(e, old.Key, to, now), true, nil
}

// isLocked reports whether an entry is still what a binding of its key said. One without
// an epoch came from a ghost, which knows no more than the pod.
func (sh *shard) isLocked(e *entry, b *statefulroute.Binding) bool {
	return sh.slab.groupOf(e).pod.name == b.Pod && (b.Epoch == 0 || b.Epoch == e.epoch)
}

// reseatLocked binds an entry to another pod. One that was shown is shown on that pod at
// once: else the next request of each session that is moved would have to ask.
func (sh *shard) reseatLocked(e *entry, key, to string, now int64) statefulroute.Binding {
	shown, moves := e.seat&mirroredFlag != 0, sh.slab.groupOf(e).pod.name != to
	if moves {
		sh.changePodLocked(e, to, sh.nextEpochLocked(e.epoch, now))
	}
	sh.tellLocked(e)
	if shown && moves {
		sh.showLocked(e, key, now)
	}
	return sh.bindingLocked(e, key)
}

// changePodLocked is the only way in which a binding changes its pod.
func (sh *shard) changePodLocked(e *entry, to string, epoch uint64) {
	sh.withdrawLocked(e)
	g := sh.slab.groupOf(e)
	sh.leaveLocked(e)
	sh.setPreviousLocked(e, g.pod.name)
	sh.joinLocked(e, e.Slot, g.service, to)
	e.epoch = epoch
}

func (sh *shard) setPreviousLocked(e *entry, pod string) {
	e.seat |= movedFlag
	sh.previous[e.ID] = unique.Make(pod)
}

func (sh *shard) move(s *service, id uint64, key, to string, now int64) (b statefulroute.Binding, err error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	// An operator vouches for the session: it need not prove itself.
	if e := sh.peekLocked(s, id, key, now); e != nil {
		sh.counts.moves++
		sh.cameBackLocked(e)
		return sh.reseatLocked(e, key, to, now), nil
	}
	if podName, ok := sh.rememberedLocked(s, id, now); ok {
		if podName == to {
			podName = ""
		}
		sh.counts.moves++
		sh.reviveLocked(&b, s, id, key, to, podName, now)
		return b, nil
	}
	e, err := sh.insertLocked(entry{Entry: evict.Entry{ID: id, LastSeen: now}, created: now}, s, key, to, now)
	if err != nil {
		sh.counts.refused++
		return b, err
	}
	sh.ghosts.take(id)
	sh.policy.Used(&e.Entry)
	sh.tellLocked(e)
	return sh.bindingLocked(e, key), nil
}

func (sh *shard) delete(s *service, id uint64, key string) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.slab.find(id)
	if e == nil || !sh.slab.is(e, s, key) {
		_, known := sh.total.numbers.pod(s, sh.ghosts.take(id).pod())
		return known
	}
	sh.removeLocked(e, &sh.counts.deleted)
	return true
}

// end is delete of one binding, and of no other of its key.
func (sh *shard) end(s *service, id uint64, old *statefulroute.Binding, now int64) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.slab.find(id)
	if e == nil || !sh.slab.is(e, s, old.Key) {
		if pod, known := sh.rememberedLocked(s, id, now); !known || pod != old.Pod {
			return false
		}
		sh.ghosts.take(id)
		return true
	}
	if !sh.isLocked(e, old) {
		return false
	}
	sh.removeLocked(e, &sh.counts.deleted)
	return true
}

// checkpoint tells the journal of the uses that it does not know yet.
func (sh *shard) checkpoint(now int64) {
	sh.eachEntry(func(e *entry) {
		sh.catchUpLocked(e, now)
		if e.seat&staleFlag != 0 {
			sh.tellLocked(e)
		}
	})
}
