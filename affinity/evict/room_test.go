package evict

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// shelf is the entries of a shard that moves them at will.
type shelf struct {
	room    Room
	policy  Policy
	entries []Entry
	slots   map[uint64]uint32 // by id
}

func newShelf(strategy string, size, capacity int) *shelf {
	s, err := NewRegistry().New(strategy)
	if err != nil {
		panic(err)
	}
	f := &shelf{entries: make([]Entry, size), slots: map[uint64]uint32{}}
	f.room = NewRoom(f, capacity)
	f.policy = s.NewPolicy(f.room)
	return f
}

func (f *shelf) At(slot uint32) *Entry { return &f.entries[slot] }

func (f *shelf) Expired(e *Entry, now int64) bool { return now-e.LastSeen > 100 }

func (f *shelf) add(id uint64, now int64) {
	slot := uint32(1)
	for f.entries[slot].Group != 0 {
		slot++
	}
	f.entries[slot] = Entry{ID: id, LastSeen: now, Slot: slot, Group: 1, Requests: 1}
	f.slots[id] = slot
	f.policy.Add(&f.entries[slot])
}

func (f *shelf) use(id uint64, now int64) {
	e := f.At(f.slots[id])
	f.policy.Used(e)
	e.Requests++
	e.LastSeen = now
}

// victim is the id that has to go, 0 for none.
func (f *shelf) victim(now int64) uint64 {
	e, _, err := f.policy.Victim(now)
	if err != nil {
		return 0
	}
	return e.ID
}

func (f *shelf) remove(id uint64) {
	e := f.At(f.slots[id])
	f.policy.Remove(e)
	*e = Entry{}
	delete(f.slots, id)
}

// move gives all entries new slots by chance.
func (f *shelf) move(rnd *rand.Rand) {
	slots, moved := make([]uint32, len(f.entries)), make([]Entry, len(f.entries))
	to := rnd.Perm(len(f.entries) - 1)
	for id, slot := range f.slots {
		slots[slot] = uint32(to[slot-1] + 1)
		moved[slots[slot]] = f.entries[slot]
		f.slots[id] = slots[slot]
	}
	f.entries = moved
	for _, slot := range f.slots {
		f.At(slot).Relocate(slot, slots)
	}
	f.room.Relocate(f.policy, slots)
}

// TestPoliciesFollowTheirEntries plays the same to two policies, of which one has its
// entries moved all the time: they must choose the same victims.
func TestPoliciesFollowTheirEntries(t *testing.T) {
	for _, strategy := range NewRegistry().Names() {
		t.Run(strategy, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				const capacity = 300 // enough for entries that are not among the newest to be used
				stay, move := newShelf(strategy, capacity+1, capacity), newShelf(strategy, capacity+1, capacity)
				rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
				now, ids := int64(1000), []uint64(nil)
				for range rapid.IntRange(capacity, 4*capacity).Draw(t, "steps") {
					now += rnd.Int64N(5)
					switch {
					case len(ids) > 0 && rnd.IntN(2) == 0:
						id := ids[rnd.IntN(len(ids))]
						stay.use(id, now)
						move.use(id, now)
					case len(ids) == capacity:
						a, b := stay.victim(now), move.victim(now)
						if a != b {
							t.Fatalf("the victim is %d, and %d of the entries that were moved", a, b)
						}
						for i, id := range ids {
							if id == a {
								stay.remove(id)
								move.remove(id)
								ids = append(ids[:i], ids[i+1:]...)
								break
							}
						}
					default:
						id := rnd.Uint64() | 1
						ids = append(ids, id)
						stay.add(id, now)
						move.add(id, now)
					}
					if rnd.IntN(20) == 0 {
						move.move(rnd)
					}
				}
			})
		})
	}
}
