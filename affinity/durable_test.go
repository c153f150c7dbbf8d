package affinity

import (
	"fmt"
	"strings"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// book is a journal that is only written down.
type book map[string]statefulroute.Binding

func (b book) Put(x statefulroute.Binding) { b[x.Key] = x }
func (b book) Delete(_, key string)        { delete(b, key) }

// A table that is full when its process ends is full again when the next one has
// begun: keys spread over the shards anew, and no shard may run out of room before
// the table does.
func TestAFullTableIsRestoredWhole(t *testing.T) {
	const n = 100_000
	kept := make([]statefulroute.Binding, n)
	for i := range kept {
		kept[i] = statefulroute.Binding{Service: "chat", Key: fmt.Sprint("key-", i), Pod: "a", Created: t0, LastSeen: t0, Requests: 2}
	}
	for range 5 {
		c := newTable(t, Options{Capacity: n})
		if got := c.Restore(kept, t0); got != n {
			t.Fatalf("restored %d of %d", got, n)
		}
		if st := checkIdentity(t, c); st.Evicted != 0 || st.Size != n {
			t.Fatalf("%+v", st)
		}
	}
}

func TestRestoreCountsWhatIsKept(t *testing.T) {
	c := newTable(t, Options{Capacity: 10, Shards: 1})
	var kept []statefulroute.Binding
	for i := range 15 {
		kept = append(kept, statefulroute.Binding{Service: "chat", Key: fmt.Sprint(i), Pod: "a", Created: t0, LastSeen: t0, Requests: 2})
	}
	if n := c.Restore(kept, t0); n != 10 {
		t.Fatalf("restored %d, want the 10 that there is room for", n)
	}
}

// What a session must prove to stay is that it came back; a restart must not make it
// prove it again.
func TestTheJournalHearsOfTheFirstReturn(t *testing.T) {
	b := book{}
	c := newTable(t, Options{Journal: b, DefaultExpiration: time.Hour})
	claim(t, c, "chat", "k", "a", t0)
	c.Lookup("chat", "k", t0.Add(time.Second))
	if b["k"].Requests != 2 {
		t.Fatalf("the journal has %d requests after two", b["k"].Requests)
	}
	for range 98 {
		c.Lookup("chat", "k", t0.Add(2*time.Second))
	}
	if b["k"].Requests != 2 {
		t.Fatalf("the journal has heard of each of %d requests", b["k"].Requests)
	}
	c.Checkpoint(t0)
	want, _ := c.Peek("chat", "k", t0)
	if b["k"] != want || want.Requests != 100 {
		t.Fatalf("after a checkpoint the journal says %+v of %+v", b["k"], want)
	}
	delete(b, "k")
	if c.Checkpoint(t0); len(b) != 0 {
		t.Fatal("a checkpoint told of what the journal knew")
	}
}

// counting is a journal that counts.
type counting int

func (n *counting) Put(statefulroute.Binding) { *n++ }
func (n *counting) Delete(_, _ string)        {}

// A session that is used all the while is told of as often as the steps say.
func TestJournalSteps(t *testing.T) {
	for steps, most := range map[int]int{0: DefaultJournalSteps, 1: 1, 8: 8, 100: 100} {
		var n counting
		c := newTable(t, Options{Journal: &n, JournalSteps: steps, DefaultExpiration: 30 * time.Minute})
		claim(t, c, "chat", "k", "a", t0)
		c.Lookup("chat", "k", t0)
		n = 0 // what follows is ordinary use
		const idles = 20
		for at := time.Second; at < idles*30*time.Minute; at += time.Second {
			c.Lookup("chat", "k", t0.Add(at))
		}
		if int(n) > most*idles+1 || int(n) < most/2*idles {
			t.Errorf("%d steps: told of %d uses in %d idle timeouts", steps, n, idles)
		}
	}
	if _, err := New(Options{JournalSteps: -1}); err == nil {
		t.Error("-1 steps are taken")
	}
}

// A binding that was used just before a restart lives as long after it as any other,
// although the journal heard of its use long before.
func TestALongIdleTimeoutAfterARestart(t *testing.T) {
	c := newTable(t, Options{DefaultExpiration: 30 * time.Minute})
	// Used every hour; the journal heard of it up to an eighth of a day ago.
	kept := statefulroute.Binding{Service: "chat", Key: "k", Pod: "a", Created: t0, LastSeen: t0, Requests: 9}
	restart := t0.Add(3*time.Hour - time.Minute)
	c.SetIdleTimeout("chat", 24*time.Hour)
	c.Restore([]statefulroute.Binding{kept}, restart)
	if c.Expire(restart.Add(24*time.Hour - time.Minute)); c.PodSessions("chat", "a") != 1 {
		t.Error("the binding expired although it may have been used just before the restart")
	}
	if c.Expire(restart.Add(24*time.Hour + 2*time.Minute)); c.PodSessions("chat", "a") != 0 {
		t.Error("the binding never expires")
	}
}

// Keys that an entry has room for, and those that it has not.
func TestKeysOfEveryLength(t *testing.T) {
	b := book{}
	c := newTable(t, Options{Capacity: 5000, Shards: 1, Journal: b})
	for n := range 4097 {
		key := strings.Repeat("k", n)
		claim(t, c, "chat", key, "a", t0)
		if got, ok := c.Lookup("chat", key, t0); !ok || got.Key != key || b[key].Key != key {
			t.Fatalf("a key of %d bytes: %+v, %v", n, got, ok)
		}
	}
	for n := range 4097 {
		if !c.Delete("chat", strings.Repeat("k", n)) {
			t.Fatalf("a key of %d bytes is lost", n)
		}
	}
	if st := checkIdentity(t, c); len(b) != 0 || st.Size != 0 {
		t.Fatalf("left: %d in the journal, %d entries", len(b), st.Size)
	}
}

// Of more bindings than there is room for, the most recently seen are restored,
// whatever their order, shards and services.
func TestTheNewestAreRestored(t *testing.T) {
	const capacity = 20_000
	c := newTable(t, Options{Capacity: capacity})
	bs := make([]statefulroute.Binding, 3*capacity)
	for i := range bs {
		seen := t0.Add(time.Duration(i*7919%len(bs)) * time.Millisecond) // each once
		bs[i] = statefulroute.Binding{Service: fmt.Sprint("s", i%2), Key: fmt.Sprint(i), Pod: "a", Created: t0, LastSeen: seen}
	}
	oldest := t0.Add(2 * capacity * time.Millisecond)
	now := t0.Add(time.Hour / 4)
	if n := c.Restore(bs, now); n != capacity {
		t.Errorf("restored %d of %d", n, capacity)
	}
	for _, b := range bs {
		if _, ok := c.Peek(b.Service, b.Key, now); ok == b.LastSeen.Before(oldest) {
			t.Fatalf("seen %s after the first: restored %v", b.LastSeen.Sub(t0), ok)
		}
	}
	if st := checkIdentity(t, c); st.Evicted != 0 || st.Refused != 0 {
		t.Errorf("%+v", st)
	}
}
