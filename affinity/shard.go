package affinity

import (
	"sync"
	"sync/atomic"
	"time"
	"unique"

	statefulroute "github.com/stateful-route/stateful-route"
)

// shard is an independent part of the table. Every method whose name ends in
// Locked needs mu.
type shard struct {
	mu       sync.Mutex
	index    index
	slab     slab
	policy   Policy
	groups   map[groupKey]*group
	previous map[uint64]unique.Handle[string] // of entries with movedFlag, by id
	ghosts   ghosts
	counts   counts

	limit   int     // of entries here
	total   *total  // of all shards
	journal Journal // may be nil

	// The shards lie in one slice: two locks must not share a cache line.
	_ [64]byte
}

// total counts the entries of all shards, so that keys that spread unevenly over
// the shards do not cost bindings before the table is full.
type total struct {
	n        atomic.Int64
	capacity int64
}

func (sh *shard) init(s Strategy, share, limit int, all *total, j Journal) {
	sh.slab = newSlab()
	sh.policy = s.NewPolicy(Room{slab: &sh.slab, Capacity: share})
	sh.groups = map[groupKey]*group{}
	sh.previous = map[uint64]unique.Handle[string]{}
	sh.ghosts = newGhosts(share)
	sh.limit, sh.total, sh.journal = limit, all, j
}

// lookup is the path of every request of a bound session.
func (sh *shard) lookup(s *service, id uint64, key string, now int64) (b statefulroute.Binding, ok bool) {
	sh.mu.Lock()
	e := sh.useLocked(s, id, key, now)
	if e == nil {
		sh.counts.misses++
	} else {
		sh.counts.hits++
		b, ok = sh.bindingLocked(e, key), true
	}
	sh.mu.Unlock()
	return b, ok
}

// miss counts a look-up in a service that has never had a binding.
func (sh *shard) miss() {
	sh.mu.Lock()
	sh.counts.misses++
	sh.mu.Unlock()
}

// useLocked finds the live entry of key and counts the use.
func (sh *shard) useLocked(s *service, id uint64, key string, now int64) *Entry {
	e := sh.index.find(id, &sh.slab)
	if e == nil || !sh.slab.is(e, s, key) {
		return nil
	}
	if sh.slab.expired(e, now) {
		sh.removeLocked(e, &sh.counts.expired)
		return nil
	}
	sh.policy.Used(e)
	if e.seat |= staleFlag; e.used(now, s) {
		sh.tellLocked(e, key)
	}
	return e
}

// peekLocked finds the live entry of key and leaves it as it is.
func (sh *shard) peekLocked(s *service, id uint64, key string, now int64) *Entry {
	e := sh.index.find(id, &sh.slab)
	if e == nil || !sh.slab.is(e, s, key) || sh.slab.expired(e, now) {
		return nil
	}
	return e
}

func (sh *shard) claim(s *service, id uint64, key, podName string, now int64) (statefulroute.Binding, bool, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e := sh.useLocked(s, id, key, now); e != nil {
		return sh.bindingLocked(e, key), false, nil
	}
	e, err := sh.insertLocked(Entry{id: id, created: now, lastSeen: now, requests: 1}, s, key, podName, now)
	if err != nil {
		return statefulroute.Binding{}, false, err
	}
	return sh.tellLocked(e, key), true, nil
}

// insertLocked puts a new entry in, at the cost of another one if need be.
func (sh *shard) insertLocked(facts Entry, s *service, key, podName string, now int64) (*Entry, error) {
	if mark, ok := sh.ghosts.take(facts.id); ok {
		sh.counts.broken++
		if l, ok := sh.policy.(Learner); ok {
			l.Broke(mark)
		}
	}
	if other := sh.index.find(facts.id, &sh.slab); other != nil {
		// Two keys with one 64-bit hash, or an expired entry of this key: an
		// entry is found by its hash alone, so only one can stay.
		sh.evictLocked(other, ReasonCollision, now)
	}
	if err := sh.makeRoomLocked(now); err != nil {
		sh.counts.refused++
		sh.ghosts.put(facts.id, 0)
		return nil, err
	}
	slot, e := sh.slab.take()
	facts.prev, facts.next = slot, slot
	*e = facts
	sh.slab.setKey(e, key)
	sh.index.add(e.id, slot)
	sh.joinLocked(e, slot, s, podName)
	sh.policy.Add(e)
	sh.counts.inserts++
	return e, nil
}

// makeRoomLocked counts one more entry, after one went if there is no room.
func (sh *shard) makeRoomLocked(now int64) error {
	if sh.total.n.Add(1) <= sh.total.capacity && sh.index.n < sh.limit {
		return nil
	}
	err := ErrFull // of a shard that has nothing to give
	if sh.index.n > 0 {
		var victim *Entry
		var why Reason
		if victim, why, err = sh.policy.Victim(time.Unix(0, now)); err == nil {
			sh.evictLocked(victim, why, now)
			return nil
		}
	}
	if sh.reclaimLocked(now) == 0 {
		sh.total.n.Add(-1)
		return err
	}
	return nil
}

// evictLocked removes an entry for the reason, or as expired if it is.
func (sh *shard) evictLocked(e *Entry, why Reason, now int64) {
	if sh.slab.expired(e, now) {
		sh.removeLocked(e, &sh.counts.expired)
		return
	}
	sh.ghosts.put(e.id, e.Mark())
	sh.removeLocked(e, &sh.counts.evicted[why])
}

// removeLocked takes an entry out and counts it with counter.
func (sh *shard) removeLocked(e *Entry, counter *uint64) {
	*counter++
	sh.total.n.Add(-1)
	sh.policy.Remove(e)
	sh.index.remove(e.id, sh.slab.slotOf(e))
	if sh.journal != nil {
		sh.journal.Delete(sh.slab.groupOf(e).service.name, sh.slab.keyOf(e))
	}
	if e.seat&movedFlag != 0 {
		delete(sh.previous, e.id)
	}
	sh.leaveLocked(e)
	sh.slab.giveBack(e)
}

// reclaimLocked looks for expired entries in a bounded part of the shard, for a
// policy that has no room: a sweep may be most of a cleanup interval away.
func (sh *shard) reclaimLocked(now int64) (n int) {
	visited := 0
	for _, g := range sh.groups {
		for i := len(g.members) - 1; i >= 0 && visited < walkStep; i-- {
			visited++
			if e := sh.slab.at(g.members[i]); sh.slab.expired(e, now) {
				sh.removeLocked(e, &sh.counts.expired)
				n++
			}
		}
		if visited >= walkStep || n > 0 {
			break
		}
	}
	return n
}

func (sh *shard) rebind(s *service, id uint64, key, from, to string, now int64) (statefulroute.Binding, bool, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	// The look-up that found the pod lost has counted this request.
	e := sh.peekLocked(s, id, key, now)
	if e == nil {
		return statefulroute.Binding{}, false, ErrNotFound
	}
	if sh.slab.groupOf(e).pod.name != from {
		return sh.bindingLocked(e, key), false, nil
	}
	sh.counts.rebinds++
	return sh.reseatLocked(e, key, to), true, nil
}

// reseatLocked binds an entry to another pod.
func (sh *shard) reseatLocked(e *Entry, key, to string) statefulroute.Binding {
	if g := sh.slab.groupOf(e); g.pod.name != to {
		sh.leaveLocked(e)
		sh.setPreviousLocked(e, g.pod.name)
		sh.joinLocked(e, sh.slab.slotOf(e), g.service, to)
	}
	return sh.tellLocked(e, key)
}

func (sh *shard) setPreviousLocked(e *Entry, pod string) {
	e.seat |= movedFlag
	sh.previous[e.id] = unique.Make(pod)
}

func (sh *shard) move(s *service, id uint64, key, to string, now int64) (statefulroute.Binding, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e := sh.peekLocked(s, id, key, now); e != nil {
		sh.counts.moves++
		return sh.reseatLocked(e, key, to), nil
	}
	e, err := sh.insertLocked(Entry{id: id, created: now, lastSeen: now}, s, key, to, now)
	if err != nil {
		return statefulroute.Binding{}, err
	}
	// An operator vouches for the session: it need not prove itself.
	sh.policy.Used(e)
	return sh.tellLocked(e, key), nil
}

// restore puts back what the journal kept, unless something newer is there, and
// returns by how many bindings the shard grew.
func (sh *shard) restore(s *service, id uint64, b statefulroute.Binding, now int64) int {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.peekLocked(s, id, b.Key, now) != nil {
		return 0
	}
	before, seen := sh.index.n, unixNano(b.LastSeen)
	seen = max(min(seen+s.restored(now), now), seen)
	facts := Entry{id: id, created: unixNano(b.Created), lastSeen: seen}
	facts.requests = uint32(min(b.Requests, 1<<32-1))
	if now-seen > s.idleNanos() {
		return 0
	}
	e, err := sh.insertLocked(facts, s, b.Key, b.Pod, now)
	if err != nil {
		return 0
	}
	if b.PreviousPod != "" {
		sh.setPreviousLocked(e, b.PreviousPod)
	}
	if e.requests > 1 {
		sh.policy.Used(e)
	}
	return sh.index.n - before
}

func (sh *shard) delete(s *service, id uint64, key string) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.index.find(id, &sh.slab)
	if e == nil || !sh.slab.is(e, s, key) {
		return false
	}
	sh.removeLocked(e, &sh.counts.deleted)
	return true
}

// checkpoint tells the journal of the uses that it does not know yet.
func (sh *shard) checkpoint() {
	for _, g := range sh.groupsOf(nil, "") {
		sh.walk(g, func(e *Entry) {
			if e.seat&staleFlag != 0 {
				sh.tellLocked(e, sh.slab.keyOf(e))
			}
		})
	}
}

func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
