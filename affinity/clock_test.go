package affinity

import (
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/evict"
	"github.com/stateful-route/stateful-route/internal/monotonic/clocktest"
)

// Nothing becomes older or younger when the wall clock is set: not what is bound, not
// what is remembered of the evicted, and not what the journal was told.
func TestTheWallClockMayBeSet(t *testing.T) {
	for _, strategy := range evict.NewRegistry().Names() {
		for _, set := range []time.Duration{time.Hour, -time.Hour, 24 * time.Hour} {
			began := time.Now()
			at := func(d time.Duration) time.Time { return clocktest.Set(began.Add(d), set) }
			b := book{}
			c := newTable(t, Options{Strategy: strategy, Capacity: 100, Shards: 1, DefaultExpiration: 30 * time.Minute, Journal: b})
			claim(t, c, "chat", "evicted", "chat-1", began)
			if strategy != "ttl" {
				fill(t, c, "filler", 100, "chat-2", began)
			}
			claim2 := func(key string, now time.Time) { c.Delete("chat", "filler50"); claim(t, c, "chat", key, "chat-0", now) }
			claim2("before", began)

			if n := c.Expire(at(29 * time.Minute)); n != 0 {
				t.Errorf("%s, set by %s: %d expired early", strategy, set, n)
			}
			if strategy != "ttl" {
				if pod, ok := c.Remembered("chat", "evicted", at(29*time.Minute)); !ok || pod != "chat-1" {
					t.Errorf("%s, set by %s: an evicted session is forgotten early", strategy, set)
				}
			}
			seen, ok := c.Lookup("chat", "before", at(29*time.Minute))
			if !ok || at(29*time.Minute).Sub(seen.Created) != 29*time.Minute || !seen.Created.Round(0).Equal(at(0).Round(0)) {
				t.Errorf("%s, set by %s: %+v, %v", strategy, set, seen, ok)
			}
			if age := at(30 * time.Minute).Sub(b["before"].LastSeen); age != time.Minute {
				t.Errorf("%s, set by %s: the journal's binding is %s old", strategy, set, age)
			}
			if _, ok := c.Remembered("chat", "evicted", at(31*time.Minute)); ok {
				t.Errorf("%s, set by %s: an evicted session is remembered for too long", strategy, set)
			}
			c.Expire(at(58 * time.Minute))
			if n := c.Stats().Size; n != 1 {
				t.Errorf("%s, set by %s: %d bindings, want the one that was used", strategy, set, n)
			}
			if n := c.Expire(at(time.Hour)); n != 1 {
				t.Errorf("%s, set by %s: %d expired at the end", strategy, set, n)
			}
		}
	}
}

// A binding from the future, as a wall clock that was set back leaves them in a file, is
// one that was used just now.
func TestABindingFromTheFuture(t *testing.T) {
	c := newTable(t, Options{DefaultExpiration: 30 * time.Minute})
	c.SetIdleTimeout("chat", 30*time.Minute)
	kept := statefulroute.Binding{Service: "chat", Key: "k", Pod: "a", Created: t0, LastSeen: t0.Add(time.Hour), Requests: 9}
	if n := c.Restore([]statefulroute.Binding{kept}, t0); n != 1 {
		t.Fatal("not restored")
	}
	if b, _ := c.Peek("chat", "k", t0); !b.LastSeen.Equal(t0) {
		t.Errorf("seen at %s, want now, %s", b.LastSeen, t0)
	}
	if n := c.Expire(t0.Add(31 * time.Minute)); n != 1 {
		t.Error("it outlived its idle timeout")
	}
}

// A session that was evicted is forgotten after its idle timeout, also when that is
// days, and stays so: what is kept of its age must not begin anew.
func TestLongAgesOfEvictedSessions(t *testing.T) {
	for _, c := range []struct {
		idle, age time.Duration
		known     bool
	}{
		{30 * time.Minute, 29 * time.Minute, true},
		{30 * time.Minute, 9*time.Hour + 50*time.Minute, false}, // 2^12 units of 8.6 s are 9 h 46 min
		{30 * time.Minute, 10 * time.Hour, false},
		{24 * time.Hour, 12 * time.Hour, true},
		{24 * time.Hour, 25 * time.Hour, false},
		{24 * time.Hour, 34 * time.Hour, false},
		{30 * time.Minute, 6*24*time.Hour + 12*time.Hour + 20*time.Minute, false}, // 2^16 units are 6 d 12 h 22 min
		{365 * 24 * time.Hour, 5 * 24 * time.Hour, true},
		{365 * 24 * time.Hour, 7 * 24 * time.Hour, false}, // that is more than is kept
		{365 * 24 * time.Hour, 100 * 24 * time.Hour, false},
	} {
		for _, every := range []time.Duration{time.Minute, time.Hour, c.age} {
			table := evicted(t)
			table.SetIdleTimeout("chat", c.idle)
			table.Expire(t0.Add(2 * time.Second))
			for d := every; d < c.age; d += every {
				table.Expire(t0.Add(d))
			}
			now := t0.Add(c.age)
			table.Expire(now)
			// Swept but once, it forgets what it cannot tell the age of.
			known := c.known && (every != c.age || c.age < 14*time.Hour)
			if _, ok := table.Remembered("chat", "k", now); ok != known {
				t.Errorf("idle timeout %s, %s old, swept every %s: remembered %v", c.idle, c.age, every, ok)
			}
			if b, ok := table.Lookup("chat", "k", now); ok != known {
				t.Errorf("idle timeout %s, %s old, swept every %s: bound again %v: %+v", c.idle, c.age, every, ok, b)
			}
		}
	}
}

// A session that was idle for longer than can be kept when it was evicted is forgotten:
// it would look young.
func TestAVeryOldSessionLeavesNoGhost(t *testing.T) {
	c := newTable(t, Options{Capacity: 100, Shards: 1, DefaultExpiration: 365 * 24 * time.Hour})
	claim(t, c, "chat", "k", "chat-1", t0)
	now := t0.Add(7 * 24 * time.Hour)
	fill(t, c, "filler", 100, "chat-2", now)
	if _, ok := c.Peek("chat", "k", now); ok {
		t.Fatal("not evicted")
	}
	if pod, ok := c.Remembered("chat", "k", now); ok {
		t.Errorf("remembered on %s", pod)
	}
}

// Every ghost is seen in each pass, however many there are and however unevenly it is
// called; those that are young enough stay.
func TestTheSweepOfGhostsMissesNone(t *testing.T) {
	for _, buckets := range []int{1, 7, 1000} {
		s := ghosts{entries: buckets * ghostsOfBucket / ghostsPerEntry}
		now := t0.UnixNano()
		for i := range buckets * ghostsOfBucket {
			id := uint64(i+1) * 0x9E3779B97F4A7C15
			s.put(id, newGhost(id, 1, now, i%2 == 0, 0))
			s.putFlood(id+1, newGhost(id+1, 1, now, false, 0))
		}
		count := func() (n int) {
			for _, c := range s.cells {
				if c != 0 {
					n++
				}
			}
			return n
		}
		all := count()
		s.due(now)
		for i, age := 0, int64(0); age < ghostRange; i++ {
			age += int64(1+i%7) * int64(time.Hour) / 2
			s.sweep(s.due(now+age), now+age)
			switch n := count(); {
			case age <= ghostMost && n != all:
				t.Fatalf("%d buckets: %d of %d left after %s", buckets, n, all, time.Duration(age))
			case age > ghostRange-int64(time.Hour) && n != 0:
				t.Fatalf("%d buckets: %d left after %s", buckets, n, time.Duration(age))
			}
		}
	}
}
