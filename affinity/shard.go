package affinity

import (
	"sync"
	"time"
	"unique"

	statefulroute "github.com/stateful-route/stateful-route"
)

// shard is an independent part of the table. Every method whose name ends in
// Locked needs mu.
type shard struct {
	mu     sync.Mutex
	policy Policy
	groups map[groupKey]*group
	ghosts ghosts
	counts counts

	journal Journal // never nil

	// The shards lie in one slice: two locks must not share a cache line.
	_ [64]byte
}

// lookup is the path of every request of a bound session.
func (sh *shard) lookup(s *service, id uint64, key string, now int64) (b statefulroute.Binding, ok bool) {
	sh.mu.Lock()
	e := sh.useLocked(s, id, key, now)
	if e == nil {
		sh.counts.misses++
	} else {
		sh.counts.hits++
		b, ok = e.binding(), true
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
	e := sh.policy.Get(id)
	if e == nil || !e.is(s, key) {
		return nil
	}
	if e.expiredAt(now) {
		sh.removeLocked(e, &sh.counts.expired)
		return nil
	}
	if e.used(now) {
		sh.journal.Put(e.binding())
	}
	return e
}

// peekLocked finds the live entry of key and leaves it as it is.
func (sh *shard) peekLocked(s *service, id uint64, key string, now int64) *Entry {
	e := sh.policy.Peek(id)
	if e == nil || !e.is(s, key) || e.expiredAt(now) {
		return nil
	}
	return e
}

func (sh *shard) claim(s *service, id uint64, key, podName string, now int64) (statefulroute.Binding, bool, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e := sh.useLocked(s, id, key, now); e != nil {
		return e.binding(), false, nil
	}
	e := &Entry{id: id, key: key, created: now, lastSeen: now, requests: 1}
	if err := sh.insertLocked(e, s, podName, now); err != nil {
		return statefulroute.Binding{}, false, err
	}
	b := e.binding()
	sh.journal.Put(b)
	return b, true, nil
}

// insertLocked puts a new entry in, at the cost of another one if need be.
func (sh *shard) insertLocked(e *Entry, s *service, podName string, now int64) error {
	if mark, ok := sh.ghosts.take(e.id); ok {
		sh.counts.broken++
		if l, ok := sh.policy.(Learner); ok {
			l.Broke(mark)
		}
	}
	if other := sh.policy.Peek(e.id); other != nil {
		// Two keys with one 64-bit hash, or an expired entry of this key: an
		// entry is found by its hash alone, so only one can stay.
		sh.dropLocked(other, ReasonCollision, now)
	}
	victim, why, err := sh.policy.Add(e)
	if err != nil && sh.reclaimLocked(now) > 0 {
		victim, why, err = sh.policy.Add(e)
	}
	if err != nil {
		sh.counts.refused++
		sh.ghosts.put(e.id, e.Mark())
		return err
	}
	if victim != nil {
		sh.forgetVictimLocked(victim, why, now)
	}
	sh.counts.inserts++
	sh.joinLocked(e, s, podName)
	return nil
}

// dropLocked removes an entry for the reason, or as expired if it is.
func (sh *shard) dropLocked(e *Entry, why Reason, now int64) {
	sh.policy.Remove(e)
	sh.forgetVictimLocked(e, why, now)
}

// forgetVictimLocked does the rest for an entry that the policy let go.
func (sh *shard) forgetVictimLocked(e *Entry, why Reason, now int64) {
	if e.expiredAt(now) {
		sh.counts.expired++
	} else {
		sh.counts.evicted[why]++
		sh.ghosts.put(e.id, e.Mark())
	}
	sh.journal.Delete(e.group.service.name, e.key)
	sh.leaveLocked(e)
}

// removeLocked takes an entry out and counts it with counter.
func (sh *shard) removeLocked(e *Entry, counter *uint64) {
	*counter++
	sh.policy.Remove(e)
	sh.journal.Delete(e.group.service.name, e.key)
	sh.leaveLocked(e)
}

// reclaimLocked looks for expired entries in a bounded part of the shard, for a
// policy that has no room: a sweep may be most of a cleanup interval away.
func (sh *shard) reclaimLocked(now int64) (n int) {
	visited := 0
	for _, g := range sh.groups {
		for i := len(g.members) - 1; i >= 0 && visited < walkStep; i-- {
			visited++
			if e := g.members[i]; e.expiredAt(now) {
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
	if e.group.pod.name != from {
		return e.binding(), false, nil
	}
	sh.counts.rebinds++
	return sh.reseatLocked(e, to), true, nil
}

// reseatLocked binds an entry to another pod.
func (sh *shard) reseatLocked(e *Entry, to string) statefulroute.Binding {
	if s, from := e.group.service, e.group.pod.name; from != to {
		sh.leaveLocked(e)
		e.previous = unique.Make(from)
		sh.joinLocked(e, s, to)
	}
	b := e.binding()
	sh.journal.Put(b)
	return b
}

func (sh *shard) move(s *service, id uint64, key, to string, now int64) (statefulroute.Binding, error) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e := sh.peekLocked(s, id, key, now); e != nil {
		sh.counts.moves++
		return sh.reseatLocked(e, to), nil
	}
	e := &Entry{id: id, key: key, created: now, lastSeen: now}
	if err := sh.insertLocked(e, s, to, now); err != nil {
		return statefulroute.Binding{}, err
	}
	// An operator vouches for the session: it need not prove itself.
	sh.policy.Get(id)
	b := e.binding()
	sh.journal.Put(b)
	return b, nil
}

// restore puts back what the journal kept, unless something newer is there.
func (sh *shard) restore(s *service, id uint64, b statefulroute.Binding, now int64) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.peekLocked(s, id, b.Key, now) != nil {
		return false
	}
	idle, seen := s.idleNanos(), unixNano(b.LastSeen)
	seen = max(min(seen+s.journalStep(), now), seen)
	e := &Entry{id: id, key: b.Key, created: unixNano(b.Created), lastSeen: seen}
	e.requests = uint32(min(b.Requests, 1<<32-1))
	if b.PreviousPod != "" {
		e.previous = unique.Make(b.PreviousPod)
	}
	if now-seen > idle || sh.insertLocked(e, s, b.Pod, now) != nil {
		return false
	}
	if e.requests > 1 {
		sh.policy.Get(id)
	}
	return true
}

func (sh *shard) delete(s *service, id uint64, key string) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.policy.Peek(id)
	if e == nil || !e.is(s, key) {
		return false
	}
	sh.removeLocked(e, &sh.counts.deleted)
	return true
}

func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
