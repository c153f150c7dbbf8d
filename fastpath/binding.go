package fastpath

import (
	"time"

	"github.com/stateful-route/stateful-route/fastpath/internal/layout"
)

// maxUnits is how long ago a session may have been used that is still answered for: half of
// what the number of units tells apart, so that it is taken out before it looks new again.
const maxUnits = 1 << 15

// Publish has readers send requests of the session to its pod, and reports whether they will
// be: not where the table has no place for it, does not know the pod, or where keys of that
// length take the callout. The session was used so long ago. Its id is the caller's own, see
// Recent.
func (t *Table) Publish(service, key, pod string, age time.Duration, id uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.services[service]
	if t.mem == nil || s == nil || key == "" || len(key) > layout.MaxKey || age/layout.UseUnit >= maxUnits {
		return false
	}
	at, known := s.pods[pod]
	if !known || t.pods[at].removed {
		return false
	}
	use := t.unitsAt(t.now()-max(age, 0)) << 16
	h := layout.SessionHash(t.hashKey, s.number, key)
	if e, found := t.find(h); found {
		t.republish(e, h, uint32(at), use)
		*t.idOf(e) = id
		return true
	}
	e, found := t.place(h)
	if found {
		t.put(e, h, uint32(at)+1, use)
		*t.idOf(e) = id
	}
	return found
}

// republish has an entry say what may be there already.
func (t *Table) republish(e entry, h layout.Hash, at, use uint32) {
	if t.mem.Load32(e.pod()) != at+1 {
		t.put(e, h, at+1, use)
		return
	}
	for {
		old := t.mem.Load32(e.use())
		if newer := int16(use>>16 - old>>16); newer <= 0 || t.mem.CompareAndSwap32(e.use(), old, use|old&0xffff) {
			return
		}
	}
}

// Withdraw has the session take the callout. A request that was answered for before it
// returns may still be on its way.
func (t *Table) Withdraw(service, key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, found := t.lookup(service, key); found {
		t.put(e, layout.Hash{}, 0, 0)
	}
}

// TakeUse returns how many requests of the session were answered for since it was called
// last, and how long ago its last use was; ok is false for one that is not in the table. An
// age is exact to 250 ms: of new requests it is rather too small, and else too great.
func (t *Table) TakeUse(service, key string) (n uint32, age time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, found := t.lookup(service, key)
	if !found {
		return 0, 0, false
	}
	use := t.mem.Load32(e.use())
	for use&0xffff != 0 && !t.mem.CompareAndSwap32(e.use(), use, use&^0xffff) {
		use = t.mem.Load32(e.use())
	}
	if n = use & 0xffff; n > 0 {
		return n, max(t.ageOf(use)-layout.UseUnit, 0), true
	}
	return 0, t.ageOf(use), true
}

// Recent appends the ids of sessions of which TakeUse would tell a use, or an age that is not
// above within: of those in one of so many equal parts of the table, counted from 0. It reads
// the part as it lies in memory, so that one needs no look at each session to find those that
// were used.
func (t *Table) Recent(to []uint64, part, parts int, within time.Duration) []uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mem == nil {
		return to
	}
	n := t.places.nBuckets
	for b := n * uint64(part) / uint64(parts); b < n*uint64(part+1)/uint64(parts); b++ {
		for i := range uint64(layout.BucketEntries) {
			e := entry{t.places.buckets + b*layout.BucketSize, i}
			if t.mem.Load32(e.pod()) == 0 {
				continue
			}
			if use := t.mem.Load32(e.use()); use&0xffff != 0 || t.ageOf(use)-layout.UseUnit <= within {
				to = append(to, *t.idOf(e))
			}
		}
	}
	return to
}

// Bindings is how many sessions are in the table.
func (t *Table) Bindings() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bindings
}

// lookup finds the entry of a session, also of a service that was removed.
func (t *Table) lookup(service, key string) (entry, bool) {
	s := t.services[service]
	if t.mem == nil || s == nil || len(key) > layout.MaxKey {
		return entry{}, false
	}
	return t.find(layout.SessionHash(t.hashKey, s.number, key))
}

// unitsAt is a moment as the uses of bindings tell it.
func (t *Table) unitsAt(at time.Duration) uint32 {
	since := at - t.created
	if since < 0 { // used before the table was
		return uint32((since-layout.UseUnit+1)/layout.UseUnit) & 0xffff
	}
	return uint32(since/layout.UseUnit) & 0xffff
}

// ageOf is the time since the beginning of the unit that a use tells.
func (t *Table) ageOf(use uint32) time.Duration {
	now := t.now()
	units := (t.unitsAt(now) - use>>16) & 0xffff
	return time.Duration(units)*layout.UseUnit + (now-t.created)%layout.UseUnit
}
