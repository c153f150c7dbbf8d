package affinity

import (
	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/evict"
)

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
// that, previous, to another. A binding that finds no place has no epoch: its ghost has no
// room for one, and a new one for each request would make pods that compare them refuse
// what is late by a moment.
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

// aliveLocked reports whether there is a ghost of the id whose session has not expired.
func (sh *shard) aliveLocked(old ghost, s *service, id uint64, now int64) bool {
	return old.alive(s, now) || old != 0 && sh.inUse[id] > 0
}

// rememberLocked leaves a ghost of an entry that is about to be evicted. One that is
// older than a ghost can tell is forgotten.
func (sh *shard) rememberLocked(e *entry, why evict.Reason, now int64) {
	if now-e.LastSeen > ghostMost || sh.total.forgetEvicted {
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
