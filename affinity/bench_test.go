package affinity

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/maypok86/otter/v2"
)

// The benchmarks hold 1M bindings and look up keys by Zipf's law, 95 % of them
// bound already and 5 % new, as a steady stream of sessions would be.
const benchBindings = 1_000_000

// peer is a table as the benchmarks see it: look up, and bind if absent.
type peer interface {
	serve(key string, now time.Time)
}

type benchKeys struct {
	old []string // bound before the run
	ops []uint32 // indexes into old by Zipf's law; a miss where it is missing
}

const missing = 1<<32 - 1

var makeBenchKeys = sync.OnceValue(func() benchKeys {
	k := benchKeys{old: make([]string, benchBindings), ops: make([]uint32, 1<<22)}
	for i := range k.old {
		k.old[i] = fmt.Sprintf("session-%016x", rand.Uint64())
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rnd, 1.01, 1, benchBindings-1)
	for i := range k.ops {
		if k.ops[i] = uint32(zipf.Uint64()); rnd.IntN(20) == 0 {
			k.ops[i] = missing
		}
	}
	return k
})

type ours struct{ c *Cache }

func (o ours) serve(key string, now time.Time) {
	if _, ok := o.c.Lookup("chat", key, now); !ok {
		_, _, _ = o.c.Claim("chat", key, "chat-0", now)
	}
}

// peerRecord is what a user of a general cache would keep for a session.
type peerRecord struct {
	pod               string
	created, lastSeen int64
	requests          uint64
}

type expirableTable struct {
	c *expirable.LRU[string, *peerRecord]
}

func (p expirableTable) serve(key string, now time.Time) {
	if _, ok := p.c.Get(key); !ok {
		p.c.Add(key, &peerRecord{pod: "chat-0", created: now.UnixNano()})
	}
}

type otterTable struct {
	c *otter.Cache[string, *peerRecord]
}

func (p otterTable) serve(key string, now time.Time) {
	if _, ok := p.c.GetIfPresent(key); !ok {
		p.c.Set(key, &peerRecord{pod: "chat-0", created: now.UnixNano()})
	}
}

// simpleTable is simplelru in locked shards, with nothing of ours.
type simpleTable struct {
	shards []simpleShard
}

type simpleShard struct {
	mu sync.Mutex
	l  *simplelru.LRU[string, *peerRecord]
	_  [64]byte
}

func newSimpleTable(shards int) simpleTable {
	t := simpleTable{shards: make([]simpleShard, shards)}
	for i := range t.shards {
		t.shards[i].l, _ = simplelru.NewLRU[string, *peerRecord](benchBindings/shards, nil)
	}
	return t
}

func (t simpleTable) serve(key string, now time.Time) {
	h := uint64(14695981039346656037)
	for i := len(key) - 8; i < len(key); i++ {
		h = (h ^ uint64(key[i])) * 1099511628211
	}
	s := &t.shards[h>>40%uint64(len(t.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.l.Get(key); ok {
		r.lastSeen = now.UnixNano()
		r.requests++
		return
	}
	s.l.Add(key, &peerRecord{pod: "chat-0", created: now.UnixNano()})
}

var peers = []struct {
	name string
	make func() peer
}{
	{"lru", func() peer { return ours{mustNew("lru")} }},
	{"lfu", func() peer { return ours{mustNew("lfu")} }},
	{"adaptive", func() peer { return ours{mustNew("adaptive")} }},
	{"expirable", func() peer {
		return expirableTable{expirable.NewLRU[string, *peerRecord](benchBindings, nil, 30*time.Minute)}
	}},
	{"simplelru", func() peer { return newSimpleTable(1) }},
	{"simplelru×256", func() peer { return newSimpleTable(256) }},
	{"otter", func() peer {
		return otterTable{otter.Must(&otter.Options[string, *peerRecord]{
			MaximumSize:      benchBindings,
			ExpiryCalculator: otter.ExpiryAccessing[string, *peerRecord](30 * time.Minute),
		})}
	}},
}

func mustNew(strategy string) *Cache {
	c, err := New(Options{Strategy: strategy, Capacity: benchBindings})
	if err != nil {
		panic(err)
	}
	return c
}

// BenchmarkServe compares us with the alternatives, in one run.
func BenchmarkServe(b *testing.B) {
	k := makeBenchKeys()
	for _, p := range peers {
		for _, workers := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/goroutines=%d", p.name, workers), func(b *testing.B) {
				t := p.make()
				for _, key := range k.old {
					t.serve(key, t0)
				}
				runtime.GC()
				b.ReportAllocs()
				b.ResetTimer()
				used := cpuTime()
				serveAll(b, t, k, workers)
				b.ReportMetric(float64(cpuTime()-used)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

var freshKeys atomic.Uint64

// serveAll splits b.N among the workers. New keys are made 1024 at a time and
// outside of the measure's allocations only as far as they are shared by all.
func serveAll(b *testing.B, t peer, k benchKeys, workers int) {
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			first := freshKeys.Add(1) << 40
			for i := range b.N / workers {
				now := t0.Add(time.Duration(i) * time.Microsecond)
				if op := k.ops[(i+w*7919)&(1<<22-1)]; op != missing {
					t.serve(k.old[op], now)
				} else {
					t.serve("session-"+strconv.FormatUint(first+uint64(i), 16), now)
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkHit is the path of every request of a bound session.
func BenchmarkHit(b *testing.B) {
	k := makeBenchKeys()
	c := mustNew("lru")
	for _, key := range k.old {
		_, _, _ = c.Claim("chat", key, "chat-0", t0)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if op := k.ops[i&(1<<22-1)]; op != missing {
			c.Lookup("chat", k.old[op], t0)
		}
	}
}

// BenchmarkMemory reports the heap per binding, without the keys.
func BenchmarkMemory(b *testing.B) {
	k := makeBenchKeys()
	for _, p := range peers {
		b.Run(p.name, func(b *testing.B) {
			for range b.N {
				before := heapInUse()
				t := p.make()
				for _, key := range k.old {
					t.serve(key, t0)
				}
				b.ReportMetric(float64(heapInUse()-before)/benchBindings, "B/binding")
				runtime.KeepAlive(t)
			}
		})
	}
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// cpuTime is what the process used so far: steadier than the wall clock on a
// machine that others use too.
func cpuTime() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
