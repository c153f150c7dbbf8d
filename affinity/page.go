package affinity

import (
	"fmt"
	"iter"
	"slices"
	"strconv"

	statefulroute "github.com/stateful-route/stateful-route"
)

// DefaultPage is the number of bindings List returns when limit is not given.
const DefaultPage = 100

// ValidCursor reports whether List can go on from after.
func ValidCursor(after string) bool {
	_, err := parseCursor(after)
	return err == nil
}

// parseCursor returns the first id that a page may hold.
func parseCursor(after string) (first uint64, err error) {
	if after == "" {
		return 0, nil
	}
	id, err := strconv.ParseUint(after, 16, 64)
	if err != nil || len(after) != 16 || id == 1<<64-1 {
		return 0, fmt.Errorf("affinity: bad cursor %q", after)
	}
	return id + 1, nil
}

// List returns up to limit bindings of a service and pod; "" matches all, and
// a limit of 0 or less means DefaultPage. The order is that of the keys'
// hashes; next is where to go on, and empty on the last page. Whoever follows
// it sees each binding that exists all the while exactly once. A cursor is of
// no use in another process; one that is not valid lists nothing.
func (t *Table) List(service, pod string, limit int, after string) (bs []statefulroute.Binding, next string) {
	first, err := parseCursor(after)
	s := t.services.get(service)
	if err != nil || (service != "" && s == nil) {
		return nil, ""
	}
	if limit <= 0 {
		limit = DefaultPage
	}
	last := uint64(0)
	for i := t.shardOf(first); i < len(t.shards); i++ {
		page := t.shards[i].page(s, pod, first, limit+1-len(bs))
		for _, e := range page {
			if len(bs) == limit {
				return bs, fmt.Sprintf("%016x", last)
			}
			bs, last = append(bs, e.b), e.id
		}
	}
	return bs, ""
}

// allPage is the page size of All.
const allPage = 4096

// All yields every binding, page by page as List does.
func (t *Table) All() iter.Seq[statefulroute.Binding] {
	return func(yield func(statefulroute.Binding) bool) {
		for page, next := t.List("", "", allPage, ""); ; page, next = t.List("", "", allPage, next) {
			for _, b := range page {
				if !yield(b) {
					return
				}
			}
			if next == "" {
				return
			}
		}
	}
}

type listed struct {
	id uint64
	b  statefulroute.Binding
}

// page returns the shard's first limit bindings from an id on. The shard is looked
// through in small steps, of which only the lowest ids are remembered: it costs as
// much as the shard, or the pod, has entries, but nobody waits for more than a step.
func (sh *shard) page(s *service, pod string, first uint64, limit int) (out []listed) {
	for {
		low := lowest{from: first, limit: limit - len(out)}
		sh.collect(s, pod, &low)
		low.trim()
		for chunk := range slices.Chunk(low.ids, walkStep) {
			out = sh.appendListed(out, chunk, s, pod)
		}
		// Of those found some may be gone again, and there may be others behind them.
		if len(out) >= limit || !low.more {
			return out
		}
		first = low.ids[len(low.ids)-1] + 1
	}
}

// lowest gathers the lowest ids from one on.
type lowest struct {
	from  uint64
	limit int
	ids   []uint64
	more  bool // there are others above
}

func (l *lowest) add(ids []uint64) {
	for _, id := range ids {
		switch {
		case id < l.from:
		case l.more && id >= l.ids[l.limit-1]: // trimmed before: these are the lowest so far
		default:
			if l.ids = append(l.ids, id); len(l.ids) >= 2*l.limit {
				l.trim()
			}
		}
	}
}

// trim sorts the ids and drops those that are too many.
func (l *lowest) trim() {
	slices.Sort(l.ids)
	l.ids = slices.Compact(l.ids)
	if len(l.ids) > l.limit {
		l.ids, l.more = l.ids[:l.limit], true
	}
}

// collect finds the lowest ids that match. Without a pod it goes by the entries'
// slots, which they keep when they pass from one pod to another: whatever is there all
// the while is found.
func (sh *shard) collect(s *service, pod string, low *lowest) {
	ids := make([]uint64, 0, walkStep)
	take := func(e *entry) {
		if sh.matchesLocked(e, s, pod) {
			ids = append(ids, e.ID)
		}
	}
	if s != nil && pod != "" {
		g := sh.group(s, pod)
		for list := range 2 {
			for at := -1; g != nil && at != 0; {
				at = sh.walkSome(g, list, at, take)
				low.add(ids)
				ids = ids[:0]
			}
		}
		return
	}
	for at, size := 0, 0; ; {
		at, size = sh.someEntries(at, size, take)
		low.add(ids)
		if ids = ids[:0]; at == 0 {
			return
		}
	}
}

func (sh *shard) matchesLocked(e *entry, s *service, pod string) bool {
	g := sh.slab.groupOf(e)
	return (pod == "" || g.pod.name == pod) && (s == nil || g.service == s)
}

// appendListed reads the entries that are still there and still match.
func (sh *shard) appendListed(out []listed, ids []uint64, s *service, pod string) []listed {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, id := range ids {
		if e := sh.slab.find(id); e != nil && sh.matchesLocked(e, s, pod) {
			out = append(out, listed{id, sh.bindingLocked(e, sh.slab.keyOf(e))})
		}
	}
	return out
}
