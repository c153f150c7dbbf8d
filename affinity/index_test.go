package affinity

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/stateful-route/stateful-route/affinity/evict"
)

// TestIndexIsAMap plays additions, removals and growth to a slab and to a map. The
// ids are few enough for their searches to meet, and often more than a bucket holds.
func TestIndexIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, want := newSlab(500), map[uint64]uint64{}
		anID := rapid.Uint64Range(0, 2000)
		if rapid.Bool().Draw(t, "ids that differ in their upper halves alone") {
			anID = rapid.Map(rapid.Uint64Range(0, 500), func(id uint64) uint64 { return id<<32 | id%7<<28 })
		}
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			id := anID.Draw(t, "id")
			e := s.find(id)
			if _, known := want[id]; known != (e != nil) {
				t.Fatalf("id %d: found %v, want %v", id, e, known)
			}
			switch {
			case e == nil:
				if s.tight() {
					s.grow()
				}
				facts := entry{Entry: evict.Entry{ID: id, Group: 1}, created: int64(len(want))}
				want[id] = uint64(facts.created)
				s.take(facts, "")
			case rapid.Bool().Draw(t, "remove"):
				s.giveBack(e)
				delete(want, id)
			}
		}
		for id, created := range want {
			e := s.find(id)
			if e == nil || uint64(e.created) != created || s.at(e.Slot) != e {
				t.Fatalf("id %d: %+v, want one made as number %d", id, e, created)
			}
		}
		if s.index.n != len(want) {
			t.Fatalf("%d ids, want %d", s.index.n, len(want))
		}
		for id := range want {
			s.giveBack(s.find(id))
		}
		for i, b := range s.index.buckets {
			if b != (bucket{}) {
				t.Fatalf("bucket %d of an empty index is %x", i, b)
			}
		}
	})
}
