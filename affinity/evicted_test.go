package affinity

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/evict"
)

// refusing returns a table that has no place for k, which it evicted from chat-1 before.
func refusing(t testing.TB) *Table {
	t.Helper()
	registry, adaptive := newAdaptive(t)
	c := newTable(t, Options{Registry: registry, Strategy: "adaptive under test", Capacity: 100, Shards: 1})
	claim(t, c, "chat", "k", "chat-1", t0)
	fill(t, c, "filler", 100, "chat-2", t0.Add(time.Second))
	setMode(t, adaptive, evict.ModeExpiry)
	return c
}

// newAdaptive returns the adaptive strategy, and a registry that has it as "adaptive
// under test".
func newAdaptive(t testing.TB) (*evict.Registry, evict.Adaptive) {
	t.Helper()
	registry := evict.NewRegistry()
	strategy, err := registry.New("adaptive")
	if err != nil {
		t.Fatal(err)
	}
	if err := registry.Register("adaptive under test", func() evict.Strategy { return strategy }); err != nil {
		t.Fatal(err)
	}
	return registry, strategy.(evict.Adaptive)
}

// setMode shows the adaptive strategy such rates that it changes to the mode.
func setMode(t testing.TB, a evict.Adaptive, mode string) {
	t.Helper()
	rates := map[string]evict.Rates{
		evict.ModeExpiry:  {Lookups: 10_000, Hits: 9000, Inserts: 1000},
		evict.ModeRecency: {Lookups: 10_000, Hits: 1000},
	}[mode]
	for range 10 {
		if is, _ := a.Observe(rates); is == mode {
			return
		}
	}
	t.Fatalf("the adaptive strategy does not change to %s", mode)
}

// Where the table has no place for an evicted session, it is rebound all the same when
// its pod is lost: once, and from then on it is known there.
func TestAnEvictedSessionIsReboundWithoutAPlace(t *testing.T) {
	c, now := refusing(t), t0.Add(time.Minute)
	before := c.Stats()
	for i := range 5 {
		b, ok := c.Lookup("chat", "k", now)
		if want := []string{"chat-1", "chat-3"}[min(i, 1)]; !ok || b.Pod != want {
			t.Fatalf("request %d: %+v, %v, want %s", i, b, ok, want)
		}
		if b.Pod != "chat-1" {
			continue
		}
		b, won, err := c.Rebind(to("chat", "k", "chat-1"), "chat-3", now)
		if err != nil || !won || b.Pod != "chat-3" || b.PreviousPod != "chat-1" {
			t.Fatalf("rebind: %+v, %v, %v", b, won, err)
		}
		// Who comes second is told.
		b, won, err = c.Rebind(to("chat", "k", "chat-1"), "chat-4", now)
		if err != nil || won || b.Pod != "chat-3" {
			t.Fatalf("second rebind: %+v, %v, %v", b, won, err)
		}
	}
	st := checkIdentity(t, c)
	if st.Rebinds != before.Rebinds+1 || st.GhostRestores != before.GhostRestores || st.Broken != before.Broken || st.Refused != before.Refused {
		t.Errorf("%+v, before %+v", st, before)
	}
	if b, err := c.Move("chat", "k", "chat-5", now); err != nil || b.Pod != "chat-5" || b.PreviousPod != "chat-3" {
		t.Errorf("moved: %+v, %v", b, err)
	}
	if b, ok := c.Lookup("chat", "k", now); !ok || b.Pod != "chat-5" {
		t.Errorf("after the move: %+v, %v", b, ok)
	}
	if _, _, err := c.Rebind(to("chat", "unknown", "chat-1"), "chat-3", now); !errors.Is(err, statefulroute.ErrGone) {
		t.Errorf("rebind of nothing: %v", err)
	}
}

// A claim of a session that was bound and evicted since its caller looked is told where
// it was bound.
func TestAClaimHeedsWhatIsRemembered(t *testing.T) {
	for name, table := range map[string]func(testing.TB) *Table{"with a place": evicted, "without": refusing} {
		c, now := table(t), t0.Add(time.Minute)
		b, won, err := c.Claim("chat", "k", "chat-9", now)
		if err != nil || won || b.Pod != "chat-1" {
			t.Errorf("%s: %+v, won %v, %v", name, b, won, err)
		}
		if st := checkIdentity(t, c); st.Broken != 0 || st.Refused != 0 {
			t.Errorf("%s: %+v", name, st)
		}
	}
}

// Many requests of few sessions more than the table holds: however they race with each
// other and with evictions, all of a session end on one pod.
func TestRacersOfOneEvictedSession(t *testing.T) {
	for _, strategy := range []string{"lru", "lfu", "adaptive"} {
		const sessions, workers, requests = 110, 8, 4000
		c := newTable(t, Options{Strategy: strategy, Capacity: 100, Shards: 1})
		var mu sync.Mutex
		owner := map[string]string{}
		var all sync.WaitGroup
		for w := range workers {
			all.Go(func() {
				rnd := rand.New(rand.NewPCG(5, uint64(w)))
				for i := range requests {
					key := fmt.Sprint("s", rnd.IntN(sessions))
					b, ok := c.Lookup("chat", key, t0)
					if runtime.Gosched(); !ok {
						var err error
						if b, _, err = c.Claim("chat", key, fmt.Sprint("pod-", w, "-", i), t0); err != nil {
							t.Error(err)
							return
						}
					}
					mu.Lock()
					if owner[key] == "" {
						owner[key] = b.Pod
					}
					if owner[key] != b.Pod {
						t.Errorf("%s: %s is on %s and on %s", strategy, key, owner[key], b.Pod)
					}
					mu.Unlock()
				}
			})
		}
		all.Wait()
		if st := checkIdentity(t, c); st.GhostRestores == 0 || st.Broken != 0 {
			t.Errorf("%s: %+v: the test proves little", strategy, st)
		}
	}
}

// What GiveUp takes is what was used once, oldest first among a few, and it comes back
// to its pod.
func TestGiveUp(t *testing.T) {
	c := newTable(t, Options{Capacity: 10_000, Shards: 8})
	now := t0
	for i := range 300 {
		now = t0.Add(time.Duration(i) * time.Second)
		key := fmt.Sprint(i)
		claim(t, c, "chat", key, "a", now)
		claim(t, c, "chat", key+"b", "b", now)
		switch i % 3 {
		case 0:
			c.Lookup("chat", key, now)
		case 1:
			if _, err := c.Move("chat", key, "a", now); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 100 {
		if !c.GiveUp("chat", "a", now) {
			t.Fatalf("%d given up, want 100", i)
		}
	}
	if c.GiveUp("chat", "a", now) || c.GiveUp("chat", "none", now) || c.GiveUp("none", "a", now) {
		t.Error("gave up what was used more than once, or is not there")
	}
	st := checkIdentity(t, c)
	if st.Evictions["max_sessions"] != 100 || st.Size != 500 || c.PodSessions("chat", "a") != 200 || c.PodSessions("chat", "b") != 300 {
		t.Errorf("%+v", st)
	}
	for i := range 300 {
		_, there := c.Peek("chat", fmt.Sprint(i), now)
		if pod, kept := c.Remembered("chat", fmt.Sprint(i), now); there != (i%3 != 2) || kept == there || kept && pod != "a" {
			t.Fatalf("%d: there %v, remembered %v on %s", i, there, kept, pod)
		}
	}
	if b, ok := c.Lookup("chat", "2", now); !ok || b.Pod != "a" || c.GiveUp("chat", "a", now) {
		t.Errorf("came back: %+v, %v, and is no id that was used once", b, ok)
	}
	// What has expired goes as such.
	claim(t, c, "chat", "late", "a", now)
	if !c.GiveUp("chat", "a", now.Add(time.Hour)) || checkIdentity(t, c).Expirations != 1 {
		t.Error("an expired session was not given up")
	}
}
