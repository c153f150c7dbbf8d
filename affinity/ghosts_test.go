package affinity

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// fill claims n sessions that are used twice, so that they are worth keeping.
func fill(t testing.TB, c *Table, name string, n int, pod string, now time.Time) {
	t.Helper()
	for i := range n {
		key := fmt.Sprint(name, i)
		claim(t, c, "chat", key, pod, now)
		c.Lookup("chat", key, now)
	}
}

// evicted returns a table in which k was bound to chat-1 and evicted.
func evicted(t testing.TB) *Table {
	t.Helper()
	c := newTable(t, Options{Capacity: 100, Shards: 1})
	claim(t, c, "chat", "k", "chat-1", t0)
	fill(t, c, "filler", 100, "chat-2", t0.Add(time.Second))
	if b, ok := c.Peek("chat", "k", t0.Add(time.Second)); ok {
		t.Fatalf("still in the table: %+v", b)
	}
	return c
}

func TestAnEvictedSessionComesBackToItsPod(t *testing.T) {
	c, now := evicted(t), t0.Add(time.Minute)
	if pod, ok := c.Remembered("chat", "k", now); pod != "chat-1" || !ok {
		t.Errorf("remembered on %q, %v", pod, ok)
	}
	b, ok := c.Lookup("chat", "k", now)
	if !ok || b.Pod != "chat-1" || !b.Created.Equal(now) || b.Requests != 2 {
		t.Errorf("got %+v, %v", b, ok)
	}
	if _, ok := c.Remembered("chat", "k", now); ok {
		t.Error("in the table and remembered")
	}
	if st := checkIdentity(t, c); st.GhostRestores != 1 || st.Broken != 0 || st.Size != 100 {
		t.Errorf("%+v", st)
	}
}

// Of four times as many sessions as there are places, those in the table and nine in
// ten of the others find their pod: the README says so.
func TestHowManyEvictedSessionsAreRemembered(t *testing.T) {
	const capacity = 20_000
	c := newTable(t, Options{Capacity: capacity})
	fill(t, c, "s", 4*capacity, "chat-1", t0)
	bound, remembered := 0, 0
	for i := range 4 * capacity {
		key := fmt.Sprint("s", i)
		if _, ok := c.Peek("chat", key, t0); ok {
			bound++
		} else if pod, _ := c.Remembered("chat", key, t0); pod == "chat-1" {
			remembered++
		}
	}
	if bound != capacity || remembered < 3*capacity*9/10 {
		t.Errorf("%d bound, %d of %d others remembered", bound, remembered, 3*capacity)
	}
}

func TestWhatEndsTheMemoryOfASession(t *testing.T) {
	for name, end := range map[string]func(c *Table) (now time.Time){
		"idle timeout": func(*Table) time.Time { return t0.Add(31 * time.Minute) },
		"Delete": func(c *Table) time.Time {
			if !c.Delete("chat", "k") || c.Delete("chat", "k") {
				t.Error("an evicted binding is to be deleted once")
			}
			return t0.Add(time.Second)
		},
		"DropPod":          func(c *Table) time.Time { c.DropPod("chat", "chat-1"); return t0.Add(time.Second) },
		"Flush":            func(c *Table) time.Time { c.Flush("chat"); return t0.Add(time.Second) },
		"Flush everything": func(c *Table) time.Time { c.Flush(""); return t0.Add(time.Second) },
		"a new binding": func(c *Table) time.Time {
			if b, err := c.Move("chat", "k", "chat-3", t0.Add(time.Second)); err != nil || b.PreviousPod != "chat-1" {
				t.Errorf("moved: %+v, %v", b, err)
			}
			c.Delete("chat", "k")
			return t0.Add(time.Second)
		},
	} {
		c := evicted(t)
		now := end(c)
		if pod, ok := c.Remembered("chat", "k", now); ok {
			t.Errorf("%s: remembered on %s", name, pod)
		}
		if b, ok := c.Lookup("chat", "k", now); ok {
			t.Errorf("%s: bound again: %+v", name, b)
		}
	}
}

// What DropPod ends is what was, not the pod: sessions that it gets later are
// remembered again.
func TestADroppedPodIsRememberedAnew(t *testing.T) {
	c := evicted(t)
	c.DropPod("chat", "chat-1")
	now := t0.Add(2 * time.Second)
	claim(t, c, "chat", "later", "chat-1", now)
	fill(t, c, "new", 150, "chat-2", now.Add(time.Second))
	if _, ok := c.Peek("chat", "later", now); ok {
		t.Fatal("not evicted")
	}
	if b, ok := c.Lookup("chat", "later", now.Add(time.Second)); !ok || b.Pod != "chat-1" || c.Stats().GhostRestores != 1 {
		t.Errorf("got %+v, %v", b, ok)
	}
}

// Where the strategy came to refuse places, a session that it evicted before keeps its
// pod all the same.
func TestARefusedSessionKeepsThePodItHad(t *testing.T) {
	c := refusing(t)
	for i := range 3 {
		// Longer than the idle timeout after it was evicted, not after its last request.
		now := t0.Add(time.Duration(i+1) * 20 * time.Minute)
		for i := range 100 {
			c.Lookup("chat", fmt.Sprint("filler", i), now)
		}
		b, ok := c.Lookup("chat", "k", now)
		if _, placed := c.Peek("chat", "k", now); !ok || b.Pod != "chat-1" || placed {
			t.Errorf("after %s: %+v, %v, in the table: %v", now.Sub(t0), b, ok, placed)
		}
	}
	if st := checkIdentity(t, c); st.GhostRestores != 0 || st.Hits != 403 || st.Broken != 0 || st.Refused != 0 || st.Size != 100 {
		t.Errorf("%+v", st)
	}
}

// A session that a full table refused is not made to look as if it had a pod.
func TestARefusedSessionHasNoPod(t *testing.T) {
	c := newTable(t, Options{Strategy: "ttl", Capacity: 1, Shards: 1})
	claim(t, c, "chat", "first", "chat-0", t0)
	for range 2 {
		if _, _, err := c.Claim("chat", "second", "chat-1", t0); err == nil {
			t.Fatal("bound in a full table")
		}
		if _, ok := c.Lookup("chat", "second", t0); ok || c.Delete("chat", "second") && c.Stats().Size != 1 {
			t.Fatal("found a session that was refused")
		}
	}
	if st := c.Stats(); st.Broken != 0 || st.Refused != 2 {
		t.Errorf("forgotten by Delete, yet %+v", st)
	}
}

// TestGhostsKeepBothKinds plays random ids to a bucket and to a list of what it must
// hold at least: the newest three of each kind, whatever a flood brings.
func TestGhostsKeepBothKinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := ghosts{entries: 2}
		var kinds [2][]uint64 // ids, the newest last
		now := int64(1_800_000_000_000_000_000)
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			id, back := uint64(i+1)<<32, rapid.Bool().Draw(t, "came back")
			kind := 0
			if back {
				kind = 1
			}
			s.put(id, newGhost(id, uint16(i+1), now, back, uint8(i)))
			s.putFlood(uint64(i+1)<<50, newGhost(uint64(i+1)<<50, 1, now, back, 0))
			kinds[kind] = append(kinds[kind], id)
			kinds[kind] = kinds[kind][max(len(kinds[kind])-floodPlace/2, 0):]
			if len(kinds[kind]) > 0 && rapid.IntRange(0, 4).Draw(t, "take") == 0 {
				id := rapid.SampledFrom(kinds[kind]).Draw(t, "taken")
				if s.take(id) == 0 || s.take(id) != 0 {
					t.Fatalf("%x was not there once", id)
				}
				for j, other := range kinds[kind] {
					if other == id {
						kinds[kind] = append(kinds[kind][:j:j], kinds[kind][j+1:]...)
						break
					}
				}
			}
		}
		for k := range kinds {
			for _, id := range kinds[k] {
				old := s.find(id)
				if i := id>>32 - 1; old == 0 || old.pod() != uint16(i+1) || old.mark() != uint8(i)&ghostMarkMask || old.cameBack() != (k == 1) {
					t.Fatalf("%x of kind %d: %x", id, k, uint64(old))
				}
			}
		}
	})
}

func TestGhostIdleIsNeverTooShort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seen := rapid.Int64Range(0, 1<<61).Draw(t, "seen")
		idle := rapid.Int64Range(0, ghostMost).Draw(t, "idle")
		got := newGhost(1<<32, 1, seen, false, 0).idle(seen + idle)
		if late := got - idle; late < 0 || late >= 1<<ghostUnitBits {
			t.Fatalf("idle for %s, taken for %s", time.Duration(idle), time.Duration(got))
		}
	})
}

// More pods than there are numbers: the oldest lose theirs, and a number means one
// pod at a time.
func TestPodNumbers(t *testing.T) {
	p, s := newPodNumbers(3), &service{name: "chat"}
	numbers := map[uint16]bool{}
	for i := range 5 {
		n := p.of(podName{s, fmt.Sprint("chat-", i)})
		if again := p.of(podName{s, fmt.Sprint("chat-", i)}); again != n || n.number == 0 || numbers[n.number] {
			t.Fatalf("pod %d has number %d, then %d, of %v", i, n.number, again.number, numbers)
		}
		numbers[n.number] = true
	}
	for number := range uint16(7) {
		name, ok := p.pod(s, number)
		if want := fmt.Sprint("chat-", number-1); ok != (number >= 3 && number <= 5) || ok && name != want {
			t.Errorf("number %d is %q, %v", number, name, ok)
		}
		if _, ok := p.pod(&service{name: "other"}, number); ok {
			t.Errorf("number %d is of another service, too", number)
		}
	}
	p.last = 1<<16 - 2
	if a, b := p.of(podName{s, "a"}), p.of(podName{s, "b"}); a.number != 1<<16-1 || b.number != 1 {
		t.Errorf("numbers %d and %d after the last but one", a.number, b.number)
	}
}

// Ids of one shard and one bucket differ in nearly all bits of their ghosts' tags, else a
// new session would be taken for an evicted one far more often than is said.
func TestGhostTagsTellIDsOfOneBucketApart(t *testing.T) {
	const ids, fixed = 30_000, 0x7f<<57 | 0x1fff<<19 // what chooses shard and bucket
	rnd, tags := rand.New(rand.NewPCG(1, 1)), map[ghost]bool{}
	for range ids {
		tags[ghostTag(rnd.Uint64()&^fixed)] = true
	}
	// By chance n² / 2²⁸ pairs are equal, three or four.
	if same := ids - len(tags); same > 15 {
		t.Errorf("%d of %d ids have another one's tag", same, ids)
	}
}
