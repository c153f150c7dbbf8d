package affinity

import (
	"math"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Mirror shows bindings of the table to somebody who acts on them without asking it. It is
// called with a shard locked: it must neither block nor call the table.
//
// What it shows is always the binding in force: nothing is shown that was not just found in
// the table, and it is withdrawn before its pod changes and before it leaves the table, for
// whatever reason. What is used by way of the mirror is no use that the table sees. So it
// asks before it takes a session for idle: one that looks expired, or is to be evicted, has
// a second chance.
type Mirror interface {
	// Show has the key's binding shown, which was used so long ago, and reports whether it
	// is. It may be called again for one that is. The id is the table's own, see Recent.
	Show(service, key, pod string, age time.Duration, id uint64) bool
	// Withdraw returns when the binding is not shown any more.
	Withdraw(service, key string)
	// Used returns how often the binding was used by way of the mirror since Used was
	// called last, and how long ago it was seen there, which it may be without a use; ok is
	// false for one that is not shown.
	Used(service, key string) (n uint32, age time.Duration, ok bool)
	// Recent appends the ids of the bindings that were used since Used was called for them,
	// or seen within the last so long, and perhaps of others: of those in one of so many
	// parts of what is shown, which are equal and counted from 0.
	Recent(to []uint64, part, parts int, within time.Duration) []uint64
}

// Show has the mirror show a binding, if b, as a Lookup, Claim or Rebind returned it, is
// still the one in force, and reports whether it does. One whose epoch is not known is not
// shown: it may be that of another binding.
func (t *Table) Show(b statefulroute.Binding, now time.Time) bool {
	s := t.services.get(b.Service)
	if s == nil || b.Epoch == 0 || t.options.Mirror == nil {
		return false
	}
	sh, id := t.at(s, b.Key)
	return sh.show(s, id, &b, t.nanos(now))
}

func (sh *shard) show(s *service, id uint64, b *statefulroute.Binding, now int64) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e := sh.slab.find(id)
	if e == nil || !sh.slab.is(e, s, b.Key) || !sh.isLocked(e, b) {
		return false
	}
	if age, _ := sh.catchUpLocked(e, now); e.seat&mirroredFlag != 0 && age < s.idleNanos()/2 {
		return true
	}
	if sh.expiredLocked(e, now) {
		return false
	}
	return sh.showLocked(e, b.Key, now)
}

// showLocked has the mirror show an entry on its pod, and reports whether it does.
func (sh *shard) showLocked(e *entry, key string, now int64) bool {
	e.seat |= mirroredFlag
	g := sh.slab.groupOf(e)
	if !sh.total.mirror.Show(g.service.name, key, g.pod.name, time.Duration(max(now-e.LastSeen, 0)), e.ID) {
		sh.withdrawLocked(e)
		return false
	}
	return true
}

// withdrawLocked is called before an entry changes its pod, and before it goes.
func (sh *shard) withdrawLocked(e *entry) {
	if e.seat&mirroredFlag != 0 {
		sh.total.mirror.Withdraw(sh.slab.groupOf(e).service.name, sh.slab.keyOf(e))
		e.seat &^= mirroredFlag
	}
}

// mirrorResolution is how exactly a mirror tells when a session was seen. A difference below
// it is no news: else a table that stops would tell its journal of every session that was
// not used since it was restored.
const mirrorResolution = 500 * time.Millisecond

// catchUpLocked counts the uses of an entry by way of the mirror, as if each had been a
// look-up. It returns how long ago the mirror saw its session, and whether that is news.
func (sh *shard) catchUpLocked(e *entry, now int64) (age int64, news bool) {
	if e.seat&mirroredFlag == 0 {
		return 0, false
	}
	s := sh.slab.groupOf(e).service
	n, since, shown := sh.total.mirror.Used(s.name, sh.slab.keyOf(e))
	if !shown {
		e.seat &^= mirroredFlag
		return 0, false
	}
	seen := now - int64(max(since, 0))
	if n == 0 && seen <= e.LastSeen+int64(mirrorResolution) {
		return int64(since), false
	}
	journal := e.Requests == 1 && n > 0
	if n > 0 {
		e.Requests += min(n-1, math.MaxUint32-e.Requests)
		sh.policy.Used(&e.Entry) // once is enough to tell that it is
		sh.cameBackLocked(e)
		e.Requests += min(1, math.MaxUint32-e.Requests)
	} else if sh.renewer != nil {
		sh.renewer.Renewed(&e.Entry)
	}
	if e.seat |= staleFlag; e.seen(seen, s) || journal {
		sh.tellLocked(e)
	}
	return int64(since), true
}

// expiredLocked reports whether an entry has been idle for too long, here and by way of the
// mirror.
func (sh *shard) expiredLocked(e *entry, now int64) bool {
	if !sh.slab.expired(e, now) {
		return false
	}
	_, news := sh.catchUpLocked(e, now)
	return !news || sh.slab.expired(e, now)
}

// catchUpWithin is how long the uses of a binding by way of the mirror wait to be counted, in
// a table that is asked nothing: a sixteenth of the shortest idle timeout, so that the
// journal hears of them as of others, but so often that the mirror need not count far.
const catchUpWithin = 30 * time.Second

// catchUpParts are the parts of the mirror: those of a large one are small enough to be looked
// at in between.
const catchUpParts = 1024

// mirrorWalk is how far Renew has come in catching up with the mirror.
type mirrorWalk struct {
	part  int   // the one that is next
	since int64 // when it was due
	last  int64 // when Renew was here last
	ids   []uint64
}

// catchUpSome catches up with the mirror in as many of its parts as are due by now: with what
// was used, however much more is shown.
func (t *Table) catchUpSome(now int64) {
	if t.options.Mirror == nil {
		return
	}
	t.walking.Lock()
	defer t.walking.Unlock()
	w := &t.walk
	within := min(t.services.shortestIdle()/renewals, int64(catchUpWithin))
	each := max(within/catchUpParts, 1)
	due := max(now-w.since, 0) / each
	w.since += due * each
	if w.last == 0 {
		w.last = now
	}
	seen := time.Duration(within + max(now-w.last, 0)) // since a part was last looked at, or more
	w.last = now
	for range min(due, catchUpParts) {
		w.ids = t.options.Mirror.Recent(w.ids[:0], w.part, catchUpParts, seen)
		for _, id := range w.ids {
			t.shards[t.shardOf(id)].catchUp(id, now)
		}
		w.part = (w.part + 1) % catchUpParts
	}
}

func (sh *shard) catchUp(id uint64, now int64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e := sh.slab.find(id); e != nil {
		sh.catchUpLocked(e, now)
	}
}
