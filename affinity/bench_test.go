package affinity

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/affinity/evict"
)

// BenchmarkHit is the path of every request of a bound session. What it takes beside
// other tables, with a million bindings and new ones coming, is what ./bench/affinity
// measures.
func BenchmarkHit(b *testing.B) {
	c, keys := boundSessions(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.Lookup("chat", keys[i%len(keys)], t0)
	}
}

// BenchmarkRequest is a look-up and what tells that its session is in use meanwhile.
func BenchmarkRequest(b *testing.B) {
	c, keys := boundSessions(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		key := keys[i%len(keys)]
		c.Hold("chat", key, t0)
		c.Lookup("chat", key, t0)
		c.Release("chat", key, t0)
	}
}

// BenchmarkRenew is what the owner does every second, with 50,000 WebSockets open: once
// all of them are due, in the other case none.
func BenchmarkRenew(b *testing.B) {
	for name, step := range map[string]time.Duration{"due": 2 * time.Minute, "not due": time.Second} {
		b.Run(name, func(b *testing.B) {
			c, keys := boundSessions(b)
			for _, key := range keys {
				c.Hold("chat", key, t0)
			}
			now := t0
			for b.Loop() {
				if now = now.Add(step); now.Sub(t0) > time.Minute && step < time.Minute {
					now = t0
				}
				c.Renew(now)
			}
		})
	}
}

// boundSessions is a table half full.
func boundSessions(b *testing.B) (*Table, []string) {
	c := newTable(b, Options{Capacity: 100_000})
	keys := make([]string, 50_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("session-%016x", i*7919)
		claim(b, c, "chat", keys[i], "chat-0", t0)
	}
	return c, keys
}

// TestMemoryPerBinding fills a table twice over, so that everything that grows has
// grown and the ghosts' memory was taken. Keys are counted.
func TestMemoryPerBinding(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's own memory is counted too")
	}
	const n, most = 200_000, 200
	for _, strategy := range evict.NewRegistry().Names() {
		before := heap()
		c := newTable(t, Options{Strategy: strategy, Capacity: n})
		for i := range 2 * n {
			_, _, _ = c.Claim("chat", fmt.Sprintf("session-%016x", i), "chat-0", t0) // ttl refuses
		}
		per := float64(heap()-before) / n
		t.Logf("%s: %.0f B a binding", strategy, per)
		if per > most {
			t.Errorf("%s: %.0f B a binding, want at most %d", strategy, per, most)
		}
		runtime.KeepAlive(c)
	}
}

// heap is what is in use after collections that no more find anything.
func heap() uint64 {
	var m runtime.MemStats
	for last := uint64(0); ; last = m.HeapAlloc {
		runtime.GC()
		if runtime.ReadMemStats(&m); last != 0 && m.HeapAlloc >= last-last/1000 {
			return m.HeapAlloc
		}
	}
}
