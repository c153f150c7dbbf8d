package grpclimit

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"pgregory.net/rapid"
)

// Whatever the holders do: each gets its guarantee, no more than the rest is
// taken beyond it, and what is given back is there again.
func TestPoolKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		guaranteed, rest := rapid.IntRange(0, 4).Draw(t, "guaranteed"), rapid.IntRange(0, 10).Draw(t, "rest")
		p := NewPool(guaranteed, rest)
		shares := make([]Share, 4)
		held := make([]int, len(shares))
		for i := range shares {
			shares[i] = p.Share()
		}
		for range rapid.IntRange(0, 60).Draw(t, "steps") {
			i := rapid.IntRange(0, len(shares)-1).Draw(t, "holder")
			n := rapid.IntRange(0, 5).Draw(t, "n")
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				shares[i].GiveAll()
				held[i] = 0
			case 1, 2:
				n = min(n, held[i])
				shares[i].Give(n)
				held[i] -= n
			default:
				beyond := 0
				for j, h := range held {
					if j == i {
						h += n
					}
					beyond += max(0, h-guaranteed)
				}
				fits := beyond <= rest || held[i]+n <= guaranteed
				if got := shares[i].Take(n); got != fits {
					t.Fatalf("take %d with %v held, %d guaranteed, %d for all: %v", n, held, guaranteed, rest, got)
				}
				if fits {
					held[i] += n
				}
			}
			if shares[i].Held() != held[i] {
				t.Fatalf("holds %d, want %d", shares[i].Held(), held[i])
			}
		}
	})
}

// Under concurrency nothing is lost and nothing is had twice.
func TestPoolIsWholeAfterARush(t *testing.T) {
	p := NewPool(2, 50)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s := p.Share()
			for range 2000 {
				if n := rand.IntN(20); s.Take(n) && rand.IntN(2) == 0 {
					s.Give(n)
				}
				if s.Held() > 30 {
					s.GiveAll()
				}
			}
			s.GiveAll()
		})
	}
	wg.Wait()
	if left := p.rest.Load(); left != 50 {
		t.Errorf("%d are left of 50", left)
	}
}

func TestRefusalsAreLoggedThinly(t *testing.T) {
	r := newRefusals(zap.NewNop())
	now := time.Unix(1000, 0)
	var lines []int
	for i := range 2500 {
		if since, ok := r.due(now.Add(time.Duration(i)*10*time.Millisecond), "streams"); ok {
			lines = append(lines, since)
		}
	}
	if len(lines) != 3 || lines[0] != 0 || lines[1] != 999 || lines[2] != 999 {
		t.Errorf("2,500 refusals in 25 s: lines with %v before them", lines)
	}
	if _, ok := r.due(now, "names"); !ok {
		t.Error("another limit is silent as well")
	}
}
