package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
)

// TestRandomDamage changes bytes and pages at random. Whatever happens, Open
// returns, and it never reads a binding that was not written.
func TestRandomDamage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "whole.db")
	write(t, path, 5000)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	noticed := 0
	for seed := range 60 {
		rnd := rand.New(rand.NewPCG(uint64(seed), 1))
		b := damage(rnd, append([]byte(nil), whole...))
		path := filepath.Join(dir, fmt.Sprintf("%d.db", seed))
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, found, err := Open(Options{Path: path})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if found.Damage != nil {
			noticed++
		} else if len(found.Bindings) != 5000 {
			t.Fatalf("seed %d: %d bindings without a word of damage", seed, len(found.Bindings))
		}
		for _, got := range found.Bindings {
			var i int
			if _, err := fmt.Sscanf(got.Key, "session-%d", &i); err != nil || got != found.asRead(binding(i)) {
				t.Fatalf("seed %d: a wrong binding was read: %+v", seed, got)
			}
		}
	}
	if noticed < 30 {
		t.Fatalf("only %d of 60 damages were noticed", noticed)
	}
}

// asRead is a binding as it was written, but for its epoch where the file was damaged.
func (f Found) asRead(b statefulroute.Binding) statefulroute.Binding {
	if f.Damage != nil {
		b.Epoch = f.EpochsAbove
	}
	return b
}

func damage(rnd *rand.Rand, b []byte) []byte {
	const page = 4096
	pages := len(b) / page
	for range 1 + rnd.IntN(8) {
		to, from := rnd.IntN(pages)*page, rnd.IntN(pages)*page
		switch rnd.IntN(4) {
		case 0: // a page written to a wrong place
			copy(b[to:to+page], b[from:from+page])
		case 1: // and numbered as if it were right
			copy(b[to+8:to+page], b[from+8:from+page])
		case 2:
			clear(b[to : to+page])
		default:
			b[to+rnd.IntN(page)] ^= 1 << rnd.IntN(8)
		}
	}
	if rnd.IntN(5) == 0 {
		b = b[:rnd.IntN(len(b))]
	}
	return b
}

// BenchmarkStore writes and reads a file of 1M bindings, for a table of the
// default capacity.
func BenchmarkStore(b *testing.B) {
	const n = 1_000_000
	for range b.N {
		path := filepath.Join(b.TempDir(), "pins.db")
		s, _, err := Open(Options{Path: path, MaxPending: n})
		if err != nil {
			b.Fatal(err)
		}
		rnd := rand.New(rand.NewPCG(1, 1))
		for i := range n {
			x := binding(i)
			x.Key = fmt.Sprintf("session-%016x", rnd.Uint64())
			s.Put(x)
		}
		began := time.Now()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := s.Run(ctx, nil); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(n/time.Since(began).Seconds(), "writes/s")
		loadInto(b, path, n)
	}
}

func loadInto(b *testing.B, path string, n int) {
	began := time.Now()
	s, found, err := Open(Options{Path: path})
	if err != nil || len(found.Bindings) != n {
		b.Fatalf("%d bindings, %v, %v", len(found.Bindings), found.Damage, err)
	}
	b.ReportMetric(time.Since(began).Seconds(), "s/open")
	table, err := affinity.New(affinity.Options{})
	if err != nil {
		b.Fatal(err)
	}
	if got := table.Restore(found.Bindings, t0.Add(time.Minute)); got != n {
		b.Fatalf("%d restored", got)
	}
	b.ReportMetric(time.Since(began).Seconds(), "s/restart")
	if info, err := os.Stat(path); err == nil {
		b.ReportMetric(float64(info.Size())/float64(n), "B/binding")
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkUpdates is the time of a batch of a hundred changes in a file of 1M.
func BenchmarkUpdates(b *testing.B) {
	path := filepath.Join(b.TempDir(), "pins.db")
	s, _, err := Open(Options{Path: path})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 1_000_000 {
		s.Put(binding(i))
	}
	if err := newWriter(s, nil).finish(); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		for range 100 {
			x := binding(rand.IntN(1_000_000))
			x.LastSeen = x.LastSeen.Add(time.Minute)
			s.Put(x)
		}
		if err := newWriter(s, nil).finish(); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
