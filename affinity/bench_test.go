package affinity

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stateful-route/stateful-route/affinity/evict"
)

// BenchmarkHit is the path of every request of a bound session. What it takes beside
// other tables, with a million bindings and new ones coming, is what ./bench/affinity
// measures.
func BenchmarkHit(b *testing.B) {
	c := newTable(b, Options{Capacity: 100_000})
	keys := make([]string, 50_000)
	for i := range keys {
		keys[i] = fmt.Sprintf("session-%016x", i*7919)
		claim(b, c, "chat", keys[i], "chat-0", t0)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.Lookup("chat", keys[i%len(keys)], t0)
	}
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
