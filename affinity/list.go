package affinity

import (
	"cmp"
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
func (c *Cache) List(service, pod string, limit int, after string) (bs []statefulroute.Binding, next string) {
	first, err := parseCursor(after)
	s := c.services.get(service)
	if err != nil || (service != "" && s == nil) {
		return nil, ""
	}
	if limit <= 0 {
		limit = DefaultPage
	}
	last := uint64(0)
	for i := c.shardOf(first); i < len(c.shards); i++ {
		page := c.shards[i].page(s, pod, first, limit+1-len(bs))
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
func (c *Cache) All() iter.Seq[statefulroute.Binding] {
	return func(yield func(statefulroute.Binding) bool) {
		for page, next := c.List("", "", allPage, ""); ; page, next = c.List("", "", allPage, next) {
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

// page returns the shard's first limit bindings from an id on. All matching
// references are copied under one hold of the lock, a few thousand in microseconds,
// or an entry that passes from one pod's group to another's meanwhile could be
// missed; they are sorted without it.
func (sh *shard) page(s *service, pod string, first uint64, limit int) []listed {
	all := sh.refsFrom(s, pod, first)
	slices.SortFunc(all, func(a, b listedRef) int { return cmp.Compare(a.id, b.id) })
	var out []listed
	for chunk := range slices.Chunk(all, walkStep) {
		if out = sh.appendListed(out, chunk, s, pod); len(out) >= limit {
			return out[:limit]
		}
	}
	return out
}

type listedRef struct {
	id   uint64
	slot uint32
}

func (sh *shard) refsFrom(s *service, pod string, first uint64) (all []listedRef) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, g := range sh.groupsOfLocked(s, pod) {
		for _, slot := range g.members {
			if id := sh.slab.at(slot).id; id >= first {
				all = append(all, listedRef{id, slot})
			}
		}
	}
	return all
}

// appendListed reads the entries that are still there and still match.
func (sh *shard) appendListed(out []listed, refs []listedRef, s *service, pod string) []listed {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, r := range refs {
		e := sh.slab.at(r.slot)
		if e.id != r.id || e.group == 0 {
			continue
		}
		if g := sh.slab.groupOf(e); (pod == "" || g.pod.name == pod) && (s == nil || g.service == s) {
			out = append(out, listed{e.id, sh.bindingLocked(e, sh.slab.keyOf(e))})
		}
	}
	return out
}
