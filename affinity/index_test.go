package affinity

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// TestIndexIsAMap plays additions, removals and growth to a slab and to a map. The
// ids are few enough for their searches to meet, and often more than a bucket holds.
func TestIndexIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, want := newSlab(500, &pool[Entry]{parts: 1, each: slotsFor(500)}, 0), map[uint64]uint64{}
		s.open()
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
				facts := Entry{id: id, created: int64(len(want)), group: 1}
				want[id] = uint64(facts.created)
				s.take(facts, "")
			case rapid.Bool().Draw(t, "remove"):
				s.giveBack(e)
				delete(want, id)
			}
		}
		for id, created := range want {
			e := s.find(id)
			if e == nil || uint64(e.created) != created || s.at(e.slot) != e {
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

// TestPoliciesFollowTheirEntries fills a table, so that its entries move, and checks
// what lru knows of them by their slots.
func TestPoliciesFollowTheirEntries(t *testing.T) {
	const capacity = 3000
	c := newCache(t, Options{Capacity: capacity, Shards: 1})
	sh := &c.shards[0]
	p, rnd, moves := sh.policy.(*lru), rand.New(rand.NewPCG(1, 1)), 0
	for i := range capacity {
		before := len(sh.slab.entries)
		claim(t, c, "chat", fmt.Sprint(i), "a", t0)
		c.Lookup("chat", fmt.Sprint(rnd.IntN(i+1)), t0)
		if len(sh.slab.entries) == before {
			continue
		}
		if moves++; i > 700 && len(p.later) == 0 {
			t.Fatal("nothing is to be moved to the front: the test proves little")
		}
		for _, slot := range p.later {
			if e := sh.slab.at(slot); e.seat&laterFlag == 0 || e.slot != slot {
				t.Errorf("%d entries: %+v is not to be moved to the front", i, e)
			}
		}
		waiting := 0
		for _, q := range []queue{p.nursery, p.elders} {
			for i, chunk := range q.chunks {
				for _, r := range chunk[q.head*max(1-i, 0):] {
					if p.onProbation(r) != nil {
						waiting++
					}
				}
			}
		}
		if waiting != p.waiting {
			t.Errorf("%d entries: %d are found on probation, %d are", i, waiting, p.waiting)
		}
	}
	if moves < 2 {
		t.Errorf("the entries moved %d times", moves)
	}
}
