package affinity

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/evict"
)

// A WebSocket of three hours, and nothing else of its session: the owner's timers go on,
// the pod keeps the session, and its idle time begins when the socket closes.
func TestASessionInUseIsNotIdle(t *testing.T) {
	const idle, open = 30 * time.Minute, 3 * time.Hour
	for _, strategy := range evict.NewRegistry().Names() {
		b := book{}
		c := newTable(t, Options{Strategy: strategy, DefaultExpiration: idle, Journal: b})
		claim(t, c, "chat", "never back", "chat-1", t0)
		claim(t, c, "chat", "socket", "chat-0", t0)
		c.Hold("chat", "socket", t0)
		for d := time.Duration(0); d <= open; d += time.Second {
			now := t0.Add(d)
			c.Renew(now)
			if d%time.Minute == 0 {
				c.Expire(now)
			}
			// What a killed process leaves behind.
			if age := now.Sub(b["socket"].LastSeen); age > idle/8+time.Second {
				t.Fatalf("%s: after %s the file would have the session idle for %s", strategy, d, age)
			}
		}
		end := t0.Add(open)
		if got, ok := c.Peek("chat", "socket", end); !ok || got.Pod != "chat-0" || got.InFlight != 1 || got.Requests != 1 {
			t.Errorf("%s: while the socket is open: %+v, %v", strategy, got, ok)
		}
		if n := c.PodSessions("chat", "chat-0") + c.PodSessions("chat", "chat-1"); n != 1 {
			t.Errorf("%s: %d sessions on the pods, want the one in use", strategy, n)
		}
		c.Release("chat", "socket", end)
		for d, want := range map[time.Duration]bool{idle: true, idle + 1: false} {
			if got, ok := c.Peek("chat", "socket", end.Add(d)); ok != want || got.InFlight != 0 {
				t.Errorf("%s: %s after the socket closed: %+v, %v", strategy, d, got, ok)
			}
		}
		if st := c.Stats(); st.InUse != 0 {
			t.Errorf("%s: %d sessions in use", strategy, st.InUse)
		}
	}
}

// Without the owner's timers, too: a look-up does not find expired what is in use.
func TestALookupOfASessionInUse(t *testing.T) {
	c := newTable(t, Options{DefaultExpiration: time.Minute})
	claim(t, c, "chat", "k", "chat-0", t0)
	c.Hold("chat", "k", t0)
	later := t0.Add(time.Hour)
	if b, ok := c.Lookup("chat", "k", later); !ok || b.Pod != "chat-0" || b.InFlight != 1 {
		t.Errorf("%+v, %v", b, ok)
	}
}

// A request does not bring back what has expired before it came.
func TestHoldBringsNothingBack(t *testing.T) {
	c := newTable(t, Options{DefaultExpiration: time.Minute, Capacity: 4, Shards: 1})
	claim(t, c, "chat", "evicted", "chat-0", t0)
	fill(t, c, "filler", 8, "chat-1", t0)
	claim(t, c, "chat", "bound", "chat-0", t0)
	if _, ok := c.Remembered("chat", "evicted", t0); !ok {
		t.Fatal("not evicted")
	}
	later := t0.Add(2 * time.Minute)
	for _, key := range []string{"bound", "evicted"} {
		c.Hold("chat", key, later)
		if b, ok := c.Lookup("chat", key, later); ok {
			t.Errorf("%s: %+v", key, b)
		}
		c.Release("chat", key, later)
	}
}

// A session in use that was evicted all the same does not expire either: another request
// of it, however long after the last one began, finds its pod.
func TestASessionInUseIsRememberedHoweverLong(t *testing.T) {
	c := evicted(t)
	c.Hold("chat", "k", t0.Add(time.Minute))
	later := t0.Add(3 * time.Hour)
	c.Hold("chat", "k", later)
	if b, ok := c.Lookup("chat", "k", later); !ok || b.Pod != "chat-1" || b.InFlight != 2 {
		t.Errorf("%+v, %v", b, ok)
	}
}

// The idle time of an evicted session, too, begins when its last request ends.
func TestTheIdleTimeOfAnEvictedSessionInUse(t *testing.T) {
	end := t0.Add(3 * time.Hour)
	for d, want := range map[time.Duration]bool{29 * time.Minute: true, 31 * time.Minute: false} {
		c := evicted(t)
		c.Hold("chat", "k", t0.Add(time.Minute))
		c.Release("chat", "k", end)
		if pod, ok := c.Remembered("chat", "k", end.Add(d)); ok != want || want && pod != "chat-1" {
			t.Errorf("%s after its last request it is remembered on %q, %v", d, pod, ok)
		}
	}
}

// The count is the session's, not the binding's.
func TestASessionInUseMayBeForgotten(t *testing.T) {
	c := newTable(t, Options{DefaultExpiration: time.Minute})
	later := t0.Add(time.Hour)
	for name, forget := range map[string]func(){
		"deleted":     func() { c.Delete("chat", "k") },
		"pod dropped": func() { c.DropPod("chat", "chat-0") },
		"flushed":     func() { c.Flush("chat") },
	} {
		c.Hold("chat", "k", t0)
		claim(t, c, "chat", "k", "chat-0", t0)
		forget()
		c.Hold("chat", "k", t0)
		claim(t, c, "chat", "k", "chat-1", t0)
		if _, err := c.Move("chat", "k", "chat-2", t0); err != nil {
			t.Fatal(err)
		}
		c.Release("chat", "k", t0) // the new binding's request is the first to end
		c.Expire(later)
		if b, ok := c.Peek("chat", "k", later); !ok || b.Pod != "chat-2" || b.InFlight != 1 {
			t.Errorf("%s and bound anew: %+v, %v", name, b, ok)
		}
		c.Release("chat", "k", later)
		c.Release("chat", "k", later)
		c.Release("nobody", "k", later)
		if b, ok := c.Peek("chat", "k", later.Add(time.Minute)); !ok || b.InFlight != 0 {
			t.Errorf("%s, after the last request: %+v, %v", name, b, ok)
		}
		c.Delete("chat", "k")
	}
	if st := c.Stats(); st.InUse != 0 {
		t.Errorf("%d in use", st.InUse)
	}
}

// New sessions take the places of those that have no request in flight, in every order,
// and of the others when there is no more of those.
func TestSessionsInUseAreEvictedLast(t *testing.T) {
	const capacity, inUse = 200, passBy
	for _, strategy := range []string{"lru", "lfu", "adaptive"} {
		c := newTable(t, Options{Strategy: strategy, Capacity: capacity, Shards: 1})
		for i := range inUse {
			key := fmt.Sprint("held-", i)
			c.Hold("chat", key, t0)
			claim(t, c, "chat", key, "chat-0", t0)
		}
		for i := range 10 * capacity {
			now := t0.Add(time.Duration(i) * time.Second)
			key := fmt.Sprint("other-", i)
			claim(t, c, "chat", key, "chat-1", now)
			if i%3 == 0 {
				c.Lookup("chat", key, now)
			}
		}
		if n := c.PodSessions("chat", "chat-0"); n != inUse {
			t.Errorf("%s: %d of %d sessions in use are bound", strategy, n, inUse)
		}
		end := t0.Add(time.Hour)
		for i := range capacity {
			key := fmt.Sprint("held too-", i)
			c.Hold("chat", key, end)
			if _, _, err := c.Claim("chat", key, "chat-2", end); err != nil {
				t.Fatalf("%s: a table full of sessions in use refuses another: %v", strategy, err)
			}
		}
	}
}

// madeFirst drops what was made first, whatever was used: a strategy of one's own that
// knows nothing of sessions in use.
type madeFirst struct{ made *evict.List }

func (madeFirst) NewPolicy(room evict.Room) evict.Policy { return madeFirst{room.NewList()} }

func (p madeFirst) Add(e *evict.Entry)    { p.made.PushFront(e) }
func (p madeFirst) Used(*evict.Entry)     {}
func (p madeFirst) Remove(e *evict.Entry) { p.made.Remove(e) }

func (p madeFirst) Victim(int64) (*evict.Entry, evict.Reason, error) {
	return p.made.Back(), evict.ReasonCapacity, nil
}

func TestAStrategyOfOnesOwnKeepsSessionsInUse(t *testing.T) {
	registry := evict.NewRegistry()
	if err := registry.Register("made first", func() evict.Strategy { return madeFirst{} }); err != nil {
		t.Fatal(err)
	}
	c := newTable(t, Options{Registry: registry, Strategy: "made first", Capacity: 10, Shards: 1})
	for i := range 3 {
		key := fmt.Sprint("held-", i)
		c.Hold("chat", key, t0)
		claim(t, c, "chat", key, "chat-0", t0)
	}
	for i := range 100 {
		claim(t, c, "chat", fmt.Sprint("other-", i), "chat-1", t0)
	}
	if n := c.PodSessions("chat", "chat-0"); n != 3 {
		t.Errorf("%d of 3 sessions in use are bound", n)
	}
}

// A session that was passed by while its only request was in flight is on probation again
// afterwards: it goes before those that came back.
func TestASessionThatWasPassedByIsOnProbationAgain(t *testing.T) {
	c := newTable(t, Options{Strategy: "lru", Capacity: 10, Shards: 1})
	fill(t, c, "real-", 9, "chat-0", t0)
	c.Hold("chat", "held", t0)
	claim(t, c, "chat", "held", "chat-1", t0)
	now := t0.Add(time.Second)
	claim(t, c, "chat", "passes it by", "chat-2", now)
	claim(t, c, "chat", "passes it by too", "chat-2", now)
	if _, ok := c.Peek("chat", "held", now); !ok {
		t.Fatal("evicted while in use")
	}
	c.Release("chat", "held", now)
	now = now.Add(time.Second)
	for i := range 9 {
		c.Lookup("chat", fmt.Sprint("real-", i), now)
	}
	for i := range 3 {
		claim(t, c, "chat", fmt.Sprint("new-", i), "chat-2", now)
	}
	if b, ok := c.Peek("chat", "held", now); ok {
		t.Errorf("still there: %+v", b)
	}
}

// An id that somebody made up is not worth more for a request that takes long: it is kept
// while that is in flight, and no longer.
func TestSlowRequestsDoNotProveASession(t *testing.T) {
	const capacity = 1000
	c := newTable(t, Options{Strategy: "lru", Capacity: capacity, Shards: 1})
	for round := range 2 {
		for i := range capacity / 2 {
			key := fmt.Sprint("real-", i)
			if round == 0 {
				claim(t, c, "chat", key, "chat-0", t0)
			} else {
				c.Lookup("chat", key, t0.Add(time.Second))
			}
		}
	}
	const inFlight = 100
	for i := range 20 * capacity {
		now := t0.Add(time.Second + time.Duration(i)*time.Millisecond)
		key := fmt.Sprint("made up-", i)
		c.Hold("chat", key, now)
		_, _, _ = c.Claim("chat", key, "chat-1", now) // any answer will do
		if i >= inFlight {
			c.Release("chat", fmt.Sprint("made up-", i-inFlight), now)
		}
	}
	if n := c.PodSessions("chat", "chat-0"); n < capacity/2-inFlight {
		t.Errorf("%d of %d real sessions are left", n, capacity/2)
	} else {
		t.Logf("%d of %d real sessions are left", n, capacity/2)
	}
}

func TestASessionInUseIsNotGivenUp(t *testing.T) {
	c := newTable(t, Options{Capacity: 10_000, Shards: 4})
	for i := range 300 {
		key := fmt.Sprint("held-", i)
		c.Hold("chat", key, t0)
		claim(t, c, "chat", key, "chat-0", t0)
	}
	if c.GiveUp("chat", "chat-0", t0) {
		t.Error("a session in use was given up")
	}
	claim(t, c, "chat", "idle", "chat-0", t0)
	if !c.GiveUp("chat", "chat-0", t0) {
		t.Error("the idle session was not given up")
	}
	if _, ok := c.Peek("chat", "idle", t0); ok || c.PodSessions("chat", "chat-0") != 300 {
		t.Error("another one was given up")
	}
}

// An orderly end writes the sessions in use as seen then, and their requests' ends are
// never known.
func TestACheckpointOfSessionsInUse(t *testing.T) {
	b := book{}
	c := newTable(t, Options{Journal: b, DefaultExpiration: time.Minute})
	claim(t, c, "chat", "k", "chat-0", t0)
	c.Hold("chat", "k", t0)
	end := t0.Add(time.Hour)
	c.Checkpoint(end)
	if !b["k"].LastSeen.Equal(end) {
		t.Errorf("seen at %s, want %s", b["k"].LastSeen, end)
	}
	next := newTable(t, Options{DefaultExpiration: time.Minute})
	next.Restore([]statefulroute.Binding{b["k"]}, end)
	if got, ok := next.Peek("chat", "k", end.Add(time.Minute)); !ok || got.InFlight != 0 {
		t.Errorf("after a restart: %+v, %v", got, ok)
	}
	next.Release("chat", "k", end)
	if st := next.Stats(); st.InUse != 0 {
		t.Errorf("%d in use", st.InUse)
	}
}

// Nor is the end of a short request lost, which is told only now and then.
func TestACheckpointAfterAShortRequest(t *testing.T) {
	b := book{}
	c := newTable(t, Options{Journal: b, DefaultExpiration: time.Hour})
	claim(t, c, "chat", "k", "chat-0", t0)
	c.Hold("chat", "k", t0)
	end := t0.Add(time.Second)
	c.Release("chat", "k", end)
	c.Checkpoint(end.Add(time.Second))
	if !b["k"].LastSeen.Equal(end) {
		t.Errorf("seen at %s, want %s", b["k"].LastSeen, end)
	}
}

// Requests that begin and end at once leave nothing behind, and none of their sessions
// moves meanwhile.
func TestRequestsAtOnceAreAllCounted(t *testing.T) {
	c := newTable(t, Options{Capacity: 2000, Shards: 4, DefaultExpiration: time.Millisecond})
	var clients sync.WaitGroup
	for w := range 8 {
		clients.Go(func() {
			rnd := rand.New(rand.NewPCG(5, uint64(w)))
			for i := range 5000 {
				now := t0.Add(time.Duration(i) * time.Millisecond)
				key := strconv.Itoa(rnd.IntN(50))
				c.Hold("chat", key, now)
				b, _, err := c.Claim("chat", key, fmt.Sprint("pod-", w), now)
				if err != nil {
					t.Error(err)
				}
				switch i % 97 {
				case 0:
					c.Expire(now)
				case 1:
					c.Renew(now)
				}
				if again, ok := c.Lookup("chat", key, now.Add(time.Hour)); !ok || again.Pod != b.Pod {
					t.Errorf("a session in use moved from %s to %q", b.Pod, again.Pod)
				}
				c.Release("chat", key, now)
			}
		})
	}
	clients.Wait()
	if st := c.Stats(); st.InUse != 0 {
		t.Errorf("%d sessions in use when all requests have ended", st.InUse)
	}
	for b := range c.All() {
		if b.InFlight != 0 {
			t.Errorf("%+v", b)
		}
	}
}
