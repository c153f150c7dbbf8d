package main

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	bindings = 1_000_000
	// isNew marks a request of a new session among the drawn ones.
	isNew = 1<<32 - 1
	drawn = 1 << 22
	// zipf is the exponent of the law: nearly as skewed as web traffic's 1, the
	// nearest that rand.Zipf draws.
	zipf = 1.01
)

// serveRounds fills the named table, says what it weighs, and then plays a round for
// each number of goroutines that it reads.
func serveRounds(name string, ops int, in io.Reader, out io.Writer) error {
	i := slices.IndexFunc(peers(), func(p peer) bool { return p.name == name })
	if i < 0 {
		return fmt.Errorf("no table is called %q", name)
	}
	l := newLoad()
	before := heap()
	t, err := peers()[i].make()
	if err != nil {
		return err
	}
	for i := range l.old {
		key := "session-" + strconv.FormatUint(l.random.Uint64()|1<<63, 16)
		l.old[i] = key
		t.serve(key, l.now)
	}
	fmt.Fprintf(out, "%.1f\n", float64(heap()-before)/bindings)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		workers, err := strconv.Atoi(lines.Text())
		if err != nil {
			return err
		}
		wall, cpu := l.round(t, workers, ops)
		fmt.Fprintf(out, "%.1f %.1f\n", wall, cpu)
	}
	return lines.Err()
}

type load struct {
	random *rand.Rand
	old    []string
	ops    []uint32 // indexes into old, or isNew
	now    time.Time
	fresh  uint64
	at     int
}

func newLoad() *load {
	l := &load{random: rand.New(rand.NewPCG(1, 2)), old: make([]string, bindings), ops: make([]uint32, drawn), now: time.Unix(1_800_000_000, 0)}
	order := l.random.Perm(bindings)
	ranks := rand.NewZipf(l.random, zipf, 1, bindings-1)
	for i := range l.ops {
		if l.ops[i] = uint32(order[ranks.Uint64()]); l.random.IntN(20) == 0 {
			l.ops[i] = isNew
		}
	}
	return l
}

// round splits the requests among goroutines and returns the wall and the CPU time
// of each request, in nanoseconds. The new sessions' keys are made before.
func (l *load) round(t table, workers, ops int) (wall, cpu float64) {
	keys := make([][]string, workers)
	for w := range keys {
		keys[w] = l.keys(ops / workers)
	}
	cpuBefore, began := cpuTime(), time.Now()
	var wg sync.WaitGroup
	for _, mine := range keys {
		wg.Go(func() {
			now := l.now
			for _, key := range mine {
				now = now.Add(time.Microsecond)
				t.serve(key, now)
			}
		})
	}
	wg.Wait()
	took, used := time.Since(began), cpuTime()-cpuBefore
	l.now = l.now.Add(time.Duration(ops/workers) * time.Microsecond)
	return float64(took.Nanoseconds()) / float64(ops), float64(used) / float64(ops)
}

func (l *load) keys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		l.at = (l.at + 1) % drawn
		if op := l.ops[l.at]; op != isNew {
			// A request brings a copy of its own, fresh from the network.
			keys[i] = strings.Clone(l.old[op])
			continue
		}
		l.fresh++
		keys[i] = "session-" + strconv.FormatUint(l.fresh<<32|l.random.Uint64()>>32, 16)
	}
	return keys
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// cpuTime is what the process used so far: steadier than the wall clock on a machine
// that others use too.
func cpuTime() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
