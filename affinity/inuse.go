package affinity

import (
	"maps"
	"slices"
	"time"
)

// A session is in use while a request of it is in flight: one that is answered at once, or
// a WebSocket that is open for hours. It is not idle then, however long ago its last
// request began: it does not expire, and is evicted last. What is counted are the requests
// of the key, beside the entries: the binding may be deleted, made anew or evicted
// meanwhile, and most sessions have no request in flight.

// Hold says that a request of a session has begun. Until as many calls of Release, the
// session is in use, whether it is bound or not yet. It is no use by itself, which is what
// Lookup and Claim count, and brings back nothing that has expired.
func (t *Table) Hold(service, key string, now time.Time) {
	s := t.services.getOrAdd(service)
	sh, id := t.at(s, key)
	sh.hold(s, id, t.nanos(now))
}

// Release says that a request has ended for which Hold was called. With the last one the
// session's idle time begins. Of a session that is not in use it is ignored.
func (t *Table) Release(service, key string, now time.Time) {
	s := t.services.get(service)
	if s == nil {
		return
	}
	sh, id := t.at(s, key)
	sh.release(id, t.nanos(now))
}

// Renew counts the sessions in use as seen now and tells the journal as of any use: after
// a crash their idle time began a little before it, and not with their last request. Its
// owner calls it every second or so. When it has been done within a sixteenth of the
// shortest idle timeout it does nothing; else it costs as much as there are sessions in
// use, and holds a lock for a few hundred at a time. It also counts uses by way of the
// mirror, of those bindings that had any, each every half minute or so.
func (t *Table) Renew(now time.Time) {
	at := t.nanos(now)
	t.catchUpSome(at)
	if at-t.renewed.Load() < t.services.shortestIdle()/renewals {
		return
	}
	t.renew(at)
}

// renewals is how many times an idle timeout sessions in use are renewed. A journal step
// is at least as long, so that each is told.
const renewals = 16

func (t *Table) renew(at int64) {
	t.renewed.Store(at)
	for i := range t.shards {
		sh := &t.shards[i]
		for ids := range slices.Chunk(sh.idsInUse(), walkStep) {
			sh.renewSome(ids, at)
		}
	}
}

func (sh *shard) hold(s *service, id uint64, now int64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	// What has expired goes now: nothing does while its session is in use.
	switch e := sh.slab.find(id); {
	case e == nil:
		if !sh.aliveLocked(sh.ghosts.find(id), s, id, now) {
			sh.ghosts.take(id)
		}
	case sh.expiredLocked(e, now):
		sh.removeLocked(e, &sh.counts.expired)
	default:
		e.seat |= inUseFlag
	}
	sh.inUse[id]++
}

func (sh *shard) release(id uint64, now int64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	n := sh.inUse[id]
	if n > 1 {
		sh.inUse[id] = n - 1
		return
	}
	if n == 0 {
		return
	}
	delete(sh.inUse, id)
	if e := sh.renewLocked(id, now); e != nil {
		e.seat &^= inUseFlag
	}
}

// renewLocked counts a session as seen, which is no further use: the request that ends, or
// goes on, was counted when it began. It returns its entry, nil for one that has none.
func (sh *shard) renewLocked(id uint64, now int64) *entry {
	e := sh.slab.find(id)
	if e == nil {
		sh.ghosts.renew(id, now)
		return nil
	}
	sh.seenLocked(e, now)
	if sh.renewer != nil {
		sh.renewer.Renewed(&e.Entry)
	}
	return e
}

func (sh *shard) seenLocked(e *entry, now int64) {
	if now <= e.LastSeen {
		return
	}
	e.seat |= staleFlag
	if e.seen(now, sh.slab.groupOf(e).service) {
		sh.tellLocked(e)
	}
}

func (sh *shard) idsInUse() []uint64 {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return slices.Collect(maps.Keys(sh.inUse))
}

func (sh *shard) renewSome(ids []uint64, now int64) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, id := range ids {
		if sh.inUse[id] > 0 { // not released meanwhile
			sh.renewLocked(id, now)
		}
	}
}

// inUseLocked is the flag of an entry of the id.
func (sh *shard) inUseLocked(id uint64) uint32 {
	if sh.inUse[id] > 0 {
		return inUseFlag
	}
	return 0
}
