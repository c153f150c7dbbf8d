package affinity

import (
	"cmp"
	"math"
	"slices"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/evict"
)

// Restore puts back bindings that a store kept and returns by how many bindings the
// table grew. It leaves out the expired, those whose key has a binding of the same or a
// higher epoch already, and of more than there is room for the least recently seen, and does
// not tell the journal of those it takes. One without an epoch gets a new one. As the
// journal hears of use only now and then, a binding counts as seen an eighth of its idle
// timeout later than it says, but not later than now. Where its times have a monotonic
// reading, that is what tells its age. The idle timeouts of the services are to be set
// before: what has expired by them is not taken.
func (t *Table) Restore(bs []statefulroute.Binding, now time.Time) (n int) {
	at := t.nanos(now)
	kept := t.worthKeeping(bs, at, now)
	for i := range kept {
		k, b := &kept[i], &bs[kept[i].at]
		n += t.shards[k.shard].restore(k.service, factsOf(b, k.id, k.seen, at, now), b, at)
	}
	return n
}

// kept is a binding to be restored, and all that its place in the order depends on.
type kept struct {
	service   *service
	id        uint64
	seen      int64
	shard, at int32
}

// worthKeeping chooses the bindings to be restored. They are in the order of their
// shards, whose memory then is in the processor's cache, and then of their last use,
// which a policy is to learn.
func (t *Table) worthKeeping(bs []statefulroute.Binding, now int64, is time.Time) []kept {
	out := make([]kept, 0, len(bs))
	for i := range bs {
		s := t.services.getOrAdd(bs[i].Service)
		seen := nanosOf(bs[i].LastSeen, now, is)
		if seen = min(seen+s.idleNanos()/8, now); now-seen > s.idleNanos() {
			continue
		}
		id := t.id(s, bs[i].Key)
		out = append(out, kept{service: s, id: id, seen: seen, shard: int32(t.shardOf(id)), at: int32(i)})
	}
	if more := len(out) - t.options.Capacity; more > 0 {
		slices.SortFunc(out, func(a, b kept) int { return cmp.Compare(a.seen, b.seen) })
		out = out[more:]
	}
	slices.SortFunc(out, func(a, b kept) int { return cmp.Or(cmp.Compare(a.shard, b.shard), cmp.Compare(a.seen, b.seen)) })
	return out
}

// restore puts back what the journal kept, unless something newer is there, and
// returns by how many bindings the shard grew.
func (sh *shard) restore(s *service, facts entry, b *statefulroute.Binding, now int64) int {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	before := sh.slab.len()
	if _, err := sh.applyLocked(s, facts, b, now); err != nil {
		return 0
	}
	return sh.slab.len() - before
}

// factsOf is the entry of a binding that was made elsewhere or before, and was last seen at
// a time by the table's clock.
func factsOf(b *statefulroute.Binding, id uint64, seen, now int64, is time.Time) entry {
	return entry{
		Entry:   evict.Entry{ID: id, LastSeen: seen, Requests: uint32(min(b.Requests, math.MaxUint32))},
		created: nanosOf(b.Created, now, is), epoch: b.Epoch,
	}
}

// nanosOf is a time on the table's clock, which says now when it is the time is. A zero
// time is long ago.
func nanosOf(t time.Time, now int64, is time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return now + int64(t.Sub(is))
}
