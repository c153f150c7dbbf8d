package affinity

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/evict"
)

func TestLRUDropsTheLeastRecentlyUsed(t *testing.T) {
	c := newTable(t, Options{Capacity: 3, Shards: 1})
	for i, key := range []string{"a", "b", "c"} {
		claim(t, c, "s", key, "p", t0.Add(time.Duration(i)*time.Second))
	}
	for i, key := range []string{"b", "c", "a"} { // all came back
		if _, ok := c.Lookup("s", key, t0.Add(time.Duration(10+i)*time.Second)); !ok {
			t.Fatalf("%s is gone", key)
		}
	}
	claim(t, c, "s", "d", "p", t0.Add(20*time.Second))
	if _, ok := c.Peek("s", "b", t0); ok {
		t.Fatal("b was used longest ago and is still there")
	}
	if st := checkIdentity(t, c); st.Evictions["capacity"] != 1 || st.Size != 3 {
		t.Fatalf("%+v", st)
	}
}

// A full ttl table finds the places of expired entries before a sweep does, a moment
// after they expired.
func TestTTLReclaimsBetweenSweeps(t *testing.T) {
	c := newTable(t, Options{Strategy: "ttl", Capacity: 100, Shards: 1})
	c.SetIdleTimeout("short", time.Minute)
	for i := range 100 {
		// The oldest entry is of a service with a longer timeout.
		claim(t, c, []string{"chat", "short"}[min(i, 1)], fmt.Sprint(i), "a", t0)
	}
	refused := func(now time.Time) bool {
		_, _, err := c.Claim("chat", "new", "a", now)
		return err != nil
	}
	if now := t0.Add(time.Minute); !refused(now) || !refused(now.Add(time.Millisecond)) {
		t.Error("bound in a full table")
	}
	if refused(t0.Add(time.Minute + searchPause)) {
		t.Error("refused though 99 entries had expired")
	}
	if st := checkIdentity(t, c); st.Expirations != 99 {
		t.Errorf("%+v", st)
	}
}

// TestFloodCannotPushOutProtectedSessions fills the table with sessions that came
// back and lets ten times as many made-up ids come.
func TestFloodCannotPushOutProtectedSessions(t *testing.T) {
	const n = 20_000
	for _, strategy := range []string{"lru", "adaptive"} {
		c := newTable(t, Options{Strategy: strategy, Capacity: n, Shards: 1})
		for i := range n {
			claim(t, c, "s", fmt.Sprint(i), "p", t0.Add(time.Duration(i)*time.Millisecond))
		}
		for i := range n {
			c.Lookup("s", fmt.Sprint(i), t0.Add(time.Duration(n+i)*time.Millisecond))
		}
		for i := range 10 * n {
			now := t0.Add(2*n*time.Millisecond + time.Duration(i)*10*time.Microsecond)
			if _, _, err := c.Claim("s", fmt.Sprint("bot-", i), "p", now); err != nil {
				t.Fatal(err)
			}
		}
		lost := 0
		for i := range n {
			if _, ok := c.Peek("s", fmt.Sprint(i), t0); !ok {
				lost++
			}
		}
		if lost > n/100 {
			t.Errorf("%s: the flood pushed out %d of %d", strategy, lost, n)
		}
	}
}

func TestOperatorsBindingIsNotOnProbation(t *testing.T) {
	c := newTable(t, Options{Capacity: 100, Shards: 1})
	if _, err := c.Move("s", "pinned", "p", t0); err != nil {
		t.Fatal(err)
	}
	claim(t, c, "s", "once", "p", t0)
	for i := range 1000 {
		claim(t, c, "s", fmt.Sprint(i), "p", t0)
	}
	if _, ok := c.Peek("s", "once", t0); ok {
		t.Error("an id that was used once is still there")
	}
	if _, ok := c.Peek("s", "pinned", t0); !ok {
		t.Error("ids that were used once pushed out what an operator bound")
	}
}

func TestLFUKeepsTheFrequentAndForgetsThemInTime(t *testing.T) {
	c := newTable(t, Options{Strategy: "lfu", Capacity: 100, Shards: 1})
	claim(t, c, "s", "busy", "p", t0)
	for range 100 {
		c.Lookup("s", "busy", t0)
	}
	gone := 0
	for i := range 2000 {
		claim(t, c, "s", fmt.Sprint(i), "p", t0)
		if _, ok := c.Peek("s", "busy", t0); !ok {
			gone = i
			break
		}
	}
	if gone < 300 || gone == 0 {
		t.Fatalf("the busy session was dropped after %d others: want some turnovers of 100, and an end", gone)
	}
}

func TestTTLRefusesWhenFull(t *testing.T) {
	c := newTable(t, Options{Strategy: "ttl", Capacity: 2, Shards: 1, DefaultExpiration: time.Minute})
	c.SetIdleTimeout("long", time.Hour)
	claim(t, c, "long", "a", "p", t0)
	claim(t, c, "s", "b", "p", t0)
	if _, _, err := c.Claim("s", "c", "p", t0.Add(time.Minute)); !errors.Is(err, statefulroute.ErrFull) {
		t.Fatalf("Claim: %v", err)
	}
	if _, err := c.Move("s", "c", "p", t0.Add(time.Minute)); !errors.Is(err, statefulroute.ErrFull) {
		t.Fatalf("Move: %v", err)
	}
	// b has expired now, though a was used as long ago.
	claim(t, c, "s", "c", "p", t0.Add(61*time.Second))
	if st := checkIdentity(t, c); st.Refused != 2 || st.Expirations != 1 || st.Evicted != 0 {
		t.Fatalf("%+v", st)
	}
}

func TestAdaptiveSwitchIsReportedAndCounted(t *testing.T) {
	var reports []string
	c := newTable(t, Options{Strategy: "adaptive", OnSwitch: func(from, to, why string) {
		reports = append(reports, fmt.Sprintf("%s→%s: %s", from, to, why))
	}})
	claim(t, c, "s", "k", "p", t0)
	for i := range 5 {
		for range 2000 {
			c.Lookup("s", "k", t0)
		}
		c.Expire(t0.Add(time.Duration(i) * time.Minute))
	}
	st := c.Stats()
	if len(reports) != 1 || !strings.HasPrefix(reports[0], "recency→expiry: hit rate 1.00") || st.Switches != 1 || st.Mode != evict.ModeExpiry {
		t.Fatalf("reports %q, %+v", reports, st)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, o := range []Options{
		{Capacity: -1}, {Capacity: maxCapacity + 1}, {DefaultExpiration: -1}, {CleanupInterval: -1},
		{Shards: -1}, {Shards: maxShards + 1}, {Capacity: 2, Shards: 3},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("New(%+v) succeeded", o)
		}
	}
}

func TestCapacityIsNeverExceeded(t *testing.T) {
	for _, capacity := range []int{1, 7, 1023, 3000, 70_000} {
		c := newTable(t, Options{Capacity: capacity})
		for i := range 2*capacity + 10 {
			claim(t, c, "s", fmt.Sprint(i), "p", t0)
		}
		st := checkIdentity(t, c)
		if st.Size > capacity || st.Size < capacity*95/100 {
			t.Errorf("capacity %d: %d entries", capacity, st.Size)
		}
	}
}
