package affinity

import (
	"testing"

	"pgregory.net/rapid"
)

// TestIndexIsAMap plays additions and removals to the index and to a map. The ids
// are few enough for their searches to meet.
func TestIndexIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, x, want := newSlab(), index{}, map[uint64]uint32{}
		anID := rapid.Uint64Range(0, 2000)
		if rapid.Bool().Draw(t, "ids that differ in their upper halves alone") {
			anID = rapid.Map(rapid.Uint64Range(0, 500), func(id uint64) uint64 { return id<<32 | id%7 })
		}
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			id := anID.Draw(t, "id")
			slot, known := want[id]
			switch {
			case !known:
				slot, e := s.take()
				e.id, e.group = id, 1
				x.add(id, slot)
				want[id] = slot
			case rapid.Bool().Draw(t, "remove"):
				x.remove(id, slot)
				s.giveBack(s.at(slot))
				delete(want, id)
			}
			if e := x.find(id, &s); (e != nil) != (want[id] != 0) || e != nil && s.slotOf(e) != want[id] {
				t.Fatalf("id %d: found %v, want slot %d", id, e, want[id])
			}
		}
		for id, slot := range want {
			if e := x.find(id, &s); e != s.at(slot) {
				t.Fatalf("id %d is lost", id)
			}
		}
		if x.n != len(want) {
			t.Fatalf("%d ids, want %d", x.n, len(want))
		}
	})
}
