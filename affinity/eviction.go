package affinity

import (
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/evict"
)

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

// victimLocked is the entry that the policy would drop, but for those in use, and those that
// were used by way of the mirror.
func (sh *shard) victimLocked(now int64) (*entry, evict.Reason, error) {
	for passed := 0; ; passed++ {
		victim, why, err := sh.policy.Victim(now)
		if err != nil {
			return nil, 0, err
		}
		e := sh.slab.at(victim.Slot)
		_, used := sh.catchUpLocked(e, now)
		if e.seat&inUseFlag == 0 && !used || passed == passBy {
			return e, why, nil
		}
		sh.passLocked(e, now)
	}
}

// passLocked tells the policy that it has to choose another victim. To one that knows
// nothing of sessions in use, the entry leaves and comes anew.
func (sh *shard) passLocked(e *entry, now int64) {
	inUse := e.seat&inUseFlag != 0
	if inUse {
		sh.seenLocked(e, now)
	}
	switch {
	case sh.renewer == nil:
		sh.policy.Remove(&e.Entry)
		sh.policy.Add(&e.Entry)
	case inUse: // else it was told of the use
		sh.renewer.Passed(&e.Entry)
	}
}

// passBy bounds the entries in use that an eviction passes by, each of which the policy
// then counts as seen. If all of them are, the next one is evicted all the same: a table in
// which so many are in use is too small, and the session keeps its pod as every evicted one.
const passBy = 64

// evictLocked removes an entry for the reason, or as expired if it is, in favour of
// another.
func (sh *shard) evictLocked(e *entry, why evict.Reason, now int64) {
	if sh.expiredLocked(e, now) {
		sh.takeOutLocked(e, &sh.counts.expired)
		return
	}
	if why != evict.ReasonCollision { // the id is another key's from now on
		sh.rememberLocked(e, why, now)
	}
	sh.takeOutLocked(e, &sh.counts.evicted[why])
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
				if e := sh.slab.at(members[i]); sh.expiredLocked(e, now) {
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
	for range passBy {
		victim := sh.oldestIdle(g.members[usedOnce], turn)
		if victim == nil {
			return false
		}
		if _, used := sh.catchUpLocked(victim, now); used {
			continue // by way of the mirror: it is none of them any more
		}
		if sh.slab.expired(victim, now) {
			sh.removeLocked(victim, &sh.counts.expired)
			return true
		}
		sh.rememberLocked(victim, evict.ReasonSessions, now)
		sh.removeLocked(victim, &sh.counts.evicted[evict.ReasonSessions])
		return true
	}
	return false
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
