package affinity

import (
	"sync"
	"sync/atomic"
	"time"
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
	clock    *monotonic.Clock
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
	if sh.slab.expired(e, now) {
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

// restoreGhostLocked binds a session that was evicted to its pod again. Where the policy
// refuses it a place, its ghost is its binding. It reports false if nothing is known of
// the session.
func (sh *shard) restoreGhostLocked(b *statefulroute.Binding, s *service, id uint64, key string, now int64) bool {
	podName, ok := sh.rememberedLocked(s, id, now)
	if ok {
		sh.reviveLocked(b, s, id, key, podName, "", now)
	}
	return ok
}

// reviveLocked binds a remembered session to a pod: to its own or, if it has to leave
// that, previous, to another.
func (sh *shard) reviveLocked(b *statefulroute.Binding, s *service, id uint64, key, pod, previous string, now int64) {
	old := sh.ghosts.take(id)
	// Of its requests two are known: one before it was evicted, and this one.
	facts := entry{Entry: evict.Entry{ID: id, LastSeen: now, Requests: 2}, created: now}
	e, err := sh.insertLocked(facts, s, key, pod, now)
	if err != nil {
		number := old.pod()
		if previous != "" {
			number = sh.total.numbers.of(podName{s, pod}).number
		}
		sh.ghosts.put(id, newGhost(id, number, now, true, old.mark()))
		at := sh.total.clock.Time(now)
		*b = statefulroute.Binding{
			Service: s.name, Key: key, Pod: pod, PreviousPod: previous,
			Created: at, LastSeen: at, Requests: uint64(facts.Requests), InFlight: int(sh.inUse[id]),
		}
		return
	}
	sh.counts.ghostRestores++
	sh.learnLocked(old)
	sh.policy.Used(&e.Entry)
	if previous != "" {
		sh.setPreviousLocked(e, previous)
	}
	sh.tellLocked(e)
	sh.describeLocked(b, e, key)
}

// learnLocked tells the policy of a session that came back after it was evicted.
func (sh *shard) learnLocked(old ghost) {
	if l, ok := sh.policy.(evict.Learner); ok {
		l.Broke(old.mark())
	}
}

func (sh *shard) remembered(s *service, id uint64, now int64) (podName string, ok bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.rememberedLocked(s, id, now)
}

func (sh *shard) rememberedLocked(s *service, id uint64, now int64) (podName string, ok bool) {
	old := sh.ghosts.find(id)
	if old.pod() == 0 || !sh.aliveLocked(old, s, id, now) {
		return "", false
	}
	return sh.total.numbers.pod(s, old.pod())
}

// rememberLocked leaves a ghost of an entry that is about to be evicted. One that is
// older than a ghost can tell is forgotten.
func (sh *shard) rememberLocked(e *entry, why evict.Reason, now int64) {
	if now-e.LastSeen > ghostMost {
		return
	}
	g := sh.slab.groupOf(e)
	old := newGhost(e.ID, sh.total.numbers.ofPod(g.service, g.pod), e.LastSeen, e.CameBack(), e.Mark())
	if why == evict.ReasonFlood {
		sh.ghosts.putFlood(e.ID, old)
		return
	}
	sh.ghosts.put(e.ID, old)
}

// peekLocked finds the live entry of key and leaves it as it is.
func (sh *shard) peekLocked(s *service, id uint64, key string, now int64) *entry {
	e := sh.slab.find(id)
	if e == nil || !sh.slab.is(e, s, key) || sh.slab.expired(e, now) {
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
	if facts.Requests == 1 {
		facts.seat |= onceFlag
	}
	e := sh.slab.take(facts, key)
	sh.joinLocked(e, e.Slot, s, podName)
	sh.policy.Add(&e.Entry)
	sh.counts.inserts++
	return e, nil
}

// makeRoomLocked counts one more entry, or gives it the place of one that has to go.
func (sh *shard) makeRoomLocked(now int64) error {
	if sh.slab.len() < sh.limit && sh.total.add() {
		return nil
	}
	err := statefulroute.ErrFull // of a shard that has nothing to give
	if sh.slab.len() > 0 {
		var victim *entry
		var why evict.Reason
		if victim, why, err = sh.victimLocked(now); err == nil {
			sh.evictLocked(victim, why, now)
			return nil
		}
	}
	if n := sh.reclaimLocked(now); n > 0 {
		sh.total.n.Add(int64(1 - n))
		return nil
	}
	return err
}

// victimLocked is the entry that the policy would drop, but for those in use.
func (sh *shard) victimLocked(now int64) (*entry, evict.Reason, error) {
	for passed := 0; ; passed++ {
		victim, why, err := sh.policy.Victim(now)
		if err != nil {
			return nil, 0, err
		}
		e := sh.slab.at(victim.Slot)
		if e.seat&inUseFlag == 0 || passed == passBy {
			return e, why, nil
		}
		sh.passLocked(e, now)
	}
}

// passLocked tells the policy that it has to choose another victim.
func (sh *shard) passLocked(e *entry, now int64) {
	sh.seenLocked(e, now)
	if sh.renewer == nil {
		sh.policy.Used(&e.Entry)
		return
	}
	sh.renewer.Passed(&e.Entry)
}

// evictLocked removes an entry for the reason, or as expired if it is, in favour of
// another.
func (sh *shard) evictLocked(e *entry, why evict.Reason, now int64) {
	if sh.slab.expired(e, now) {
		sh.takeOutLocked(e, &sh.counts.expired)
		return
	}
	if why != evict.ReasonCollision { // the id is another key's from now on
		sh.rememberLocked(e, why, now)
	}
	sh.takeOutLocked(e, &sh.counts.evicted[why])
}

// removeLocked takes an entry out and counts it with counter.
func (sh *shard) removeLocked(e *entry, counter *uint64) {
	sh.total.n.Add(-1)
	sh.takeOutLocked(e, counter)
}

// takeOutLocked is removeLocked of an entry whose place is given to another.
func (sh *shard) takeOutLocked(e *entry, counter *uint64) {
	*counter++
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

// reclaimLocked looks for expired entries in a bounded part of the shard, for a
// policy that has no room: a sweep may be most of a cleanup interval away. Their
// places are the caller's. After it found none it leaves off for a while, as the next
// request would find none either.
func (sh *shard) reclaimLocked(now int64) (n int) {
	if now < sh.searchAfter {
		return 0
	}
	visited := 0
	for _, g := range sh.groups {
		for _, members := range g.members {
			for i := len(members) - 1; i >= 0 && visited < walkStep; i-- {
				visited++
				if e := sh.slab.at(members[i]); sh.slab.expired(e, now) {
					sh.takeOutLocked(e, &sh.counts.expired)
					n++
				}
			}
		}
		if visited >= walkStep || n > 0 {
			break
		}
	}
	if n == 0 {
		sh.searchAfter = now + int64(searchPause)
	}
	return n
}

// searchPause is how long reclaimLocked leaves off.
const searchPause = 100 * time.Millisecond

func (sh *shard) rebind(s *service, id uint64, key, from, to string, now int64) (statefulroute.Binding, bool, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	// The look-up that found the pod lost has counted this request.
	e := sh.peekLocked(s, id, key, now)
	if e == nil {
		return sh.rebindGhostLocked(s, id, key, from, to, now)
	}
	if sh.slab.groupOf(e).pod.name != from {
		return sh.bindingLocked(e, key), false, nil
	}
	sh.counts.rebinds++
	return sh.reseatLocked(e, key, to), true, nil
}

// rebindGhostLocked is rebind of a session that is only remembered.
func (sh *shard) rebindGhostLocked(s *service, id uint64, key, from, to string, now int64) (b statefulroute.Binding, won bool, err error) {
	podName, ok := sh.rememberedLocked(s, id, now)
	switch {
	case !ok:
		return b, false, statefulroute.ErrGone
	case podName != from:
		sh.reviveLocked(&b, s, id, key, podName, "", now)
		return b, false, nil
	case to == from:
		from = ""
	}
	sh.counts.rebinds++
	sh.reviveLocked(&b, s, id, key, to, from, now)
	return b, true, nil
}

// reseatLocked binds an entry to another pod.
func (sh *shard) reseatLocked(e *entry, key, to string) statefulroute.Binding {
	if g := sh.slab.groupOf(e); g.pod.name != to {
		sh.leaveLocked(e)
		sh.setPreviousLocked(e, g.pod.name)
		sh.joinLocked(e, e.Slot, g.service, to)
	}
	sh.tellLocked(e)
	return sh.bindingLocked(e, key)
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
		return sh.reseatLocked(e, key, to), nil
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

// end is delete of a binding to the pod, and of no other.
func (sh *shard) end(s *service, id uint64, key, podName string, now int64) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.slab.find(id)
	if e == nil || !sh.slab.is(e, s, key) {
		if pod, known := sh.rememberedLocked(s, id, now); !known || pod != podName {
			return false
		}
		sh.ghosts.take(id)
		return true
	}
	if sh.slab.groupOf(e).pod.name != podName {
		return false
	}
	sh.removeLocked(e, &sh.counts.deleted)
	return true
}

// checkpoint tells the journal of the uses that it does not know yet.
func (sh *shard) checkpoint() {
	sh.eachEntry(func(e *entry) {
		if e.seat&staleFlag != 0 {
			sh.tellLocked(e)
		}
	})
}

// giveUp evicts the oldest of some entries of a pod that were used once and are not in
// use. It looks at them from one on that its caller changes, and reports whether there was
// any.
func (sh *shard) giveUp(s *service, podName string, turn int, now int64) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	g := sh.groups[groupKey{s, podName}]
	if g == nil || len(g.members[usedOnce]) == 0 {
		return false
	}
	victim := sh.oldestIdle(g.members[usedOnce], turn)
	if victim == nil {
		return false
	}
	if sh.slab.expired(victim, now) {
		sh.removeLocked(victim, &sh.counts.expired)
		return true
	}
	sh.rememberLocked(victim, evict.ReasonSessions, now)
	sh.removeLocked(victim, &sh.counts.evicted[evict.ReasonSessions])
	return true
}

// oldestIdle compares some of the entries that are not in use.
func (sh *shard) oldestIdle(slots []uint32, turn int) (oldest *entry) {
	compared := 0
	for i := range min(len(slots), walkStep) {
		e := sh.slab.at(slots[(turn+i)%len(slots)])
		if e.seat&inUseFlag != 0 {
			continue
		}
		if oldest == nil || e.LastSeen < oldest.LastSeen {
			oldest = e
		}
		if compared++; compared == giveUpLook {
			break
		}
	}
	return oldest
}

// giveUpLook bounds the entries that giveUp compares.
const giveUpLook = 8
