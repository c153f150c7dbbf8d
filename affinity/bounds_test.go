package affinity

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Counting sessions must not wait for shards, nor cost what they hold: it is done for
// every pod every second.
func TestCountingLooksIntoNoShard(t *testing.T) {
	journal := &holdingJournal{locked: make(chan struct{}), release: make(chan struct{})}
	c := newTable(t, Options{Capacity: 10_000, Shards: 1, Journal: journal})
	for i := range 1000 {
		claim(t, c, "chat", fmt.Sprint(i), fmt.Sprint("pod-", i%10), t0)
	}
	var holder sync.WaitGroup
	holder.Go(func() { c.Delete("chat", "0") })
	<-journal.locked
	done := make(chan struct{})
	go func() {
		defer close(done)
		if n := c.PodSessions("chat", "pod-3"); n != 100 {
			t.Errorf("%d sessions, want 100", n)
		}
		if n := c.PodSessionCounts("chat"); len(n) != 10 || n["pod-7"] != 100 {
			t.Errorf("%v", n)
		}
		if n := testing.AllocsPerRun(100, func() { c.PodSessions("chat", "pod-3") }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Error("it waits for a shard")
	}
	close(journal.release)
	<-done
	holder.Wait()
}

// holdingJournal keeps the lock of a shard that deletes, under which it is called.
type holdingJournal struct{ locked, release chan struct{} }

func (*holdingJournal) Put(statefulroute.Binding) {}

func (j *holdingJournal) Delete(string, string) {
	close(j.locked)
	<-j.release
}

// No walk looks at more than walkStep slots under one hold of the lock, and sees each
// entry.
func TestWalksAreInSmallSteps(t *testing.T) {
	const n = 5000
	c := newTable(t, Options{Capacity: 20_000, Shards: 1})
	fill(t, c, "a", n, "pod", t0)
	for i := range n {
		claim(t, c, "chat", fmt.Sprint("b", i), "pod", t0)
	}
	sh := &c.shards[0]
	seen, steps := map[uint64]int{}, 0
	for at, size := 0, 0; at != 0 || steps == 0; steps++ {
		looked := 0
		if at, size = sh.someEntries(at, size, func(e *entry) { looked++; seen[e.ID]++ }); looked > walkStep {
			t.Fatalf("%d entries in one step", looked)
		}
	}
	g := sh.group(c.services.get("chat"), "pod")
	for list := range 2 {
		for at := -1; at != 0; {
			looked := 0
			if at = sh.walkSome(g, list, at, func(e *entry) { looked++; seen[e.ID]++ }); looked > walkStep {
				t.Fatalf("%d entries in one step", looked)
			}
		}
	}
	for id, times := range seen {
		if times != 2 {
			t.Fatalf("%x seen %d times by two walks", id, times)
		}
	}
	if len(seen) != 2*n {
		t.Errorf("%d entries seen, want %d", len(seen), 2*n)
	}
}

// An entry is seen also if the slab grows, which moves it, in the midst of a walk.
func TestAWalkWhileTheSlabGrows(t *testing.T) {
	const n = 2500
	c := newTable(t, Options{Capacity: 100_000, Shards: 1})
	sh, seen, grown := &c.shards[0], map[string]bool{}, 0
	for i := range n {
		claim(t, c, "chat", fmt.Sprint(i), "pod", t0)
	}
	more := n
	for at, size := sh.someEntries(0, 0, func(*entry) {}); at != 0; {
		before := size
		if at, size = sh.someEntries(at, size, func(e *entry) { seen[sh.slab.keyOf(e)] = true }); size != before {
			grown++
		}
		if at > size/2 && grown < 2 { // in the midst of it, more than the slab has slots
			for full := more + size; more < full; more++ {
				claim(t, c, "chat", fmt.Sprint(more), "pod", t0)
			}
		}
	}
	for i := range n {
		if !seen[fmt.Sprint(i)] {
			t.Fatalf("%d was not seen", i)
		}
	}
	if grown < 2 {
		t.Errorf("grown %d times: the test proves little", grown)
	}
}

// A page costs the memory of a page, not of a shard.
func TestAPageAllocatesNoMoreThanItHolds(t *testing.T) {
	const n, limit, most = 100_000, 100, 200 << 10
	c := newTable(t, Options{Capacity: n, Shards: 1})
	for i := range n {
		claim(t, c, "chat", fmt.Sprint(i), fmt.Sprint("pod-", i%2), t0)
	}
	for _, filter := range [][2]string{{"", ""}, {"chat", ""}, {"chat", "pod-1"}} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		page, next := c.List(filter[0], filter[1], limit, "")
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; len(page) != limit || next == "" || got > most {
			t.Errorf("%q: a page of %d took %d bytes, want at most %d", filter, len(page), got, most)
		}
	}
}

// Sessions that are there all the while are listed exactly once, also while the table
// grows, which moves its entries, and while they come back for the first time.
func TestListWhileTheTableGrows(t *testing.T) {
	const stay = 2000
	for _, filter := range [][2]string{{"", ""}, {"chat", "pod"}} {
		c := newTable(t, Options{Capacity: 100_000, Shards: 2})
		for i := range stay {
			claim(t, c, "chat", fmt.Sprint("stays-", i), "pod", t0)
		}
		var other sync.WaitGroup
		other.Go(func() {
			for i := range 40_000 {
				_, _, _ = c.Claim("chat", fmt.Sprint("new-", i), "pod", t0) // a table with room refuses none
				if i%20 == 0 {
					c.Lookup("chat", fmt.Sprint("stays-", i/20), t0)
				}
			}
		})
		for range 3 {
			seen := map[string]int{}
			for page, next := c.List(filter[0], filter[1], 500, ""); ; page, next = c.List(filter[0], filter[1], 500, next) {
				for _, b := range page {
					seen[b.Key]++
				}
				if next == "" {
					break
				}
			}
			for i := range stay {
				if n := seen[fmt.Sprint("stays-", i)]; n != 1 {
					t.Fatalf("%q: listed %d times", filter, n)
				}
			}
		}
		other.Wait()
	}
}
