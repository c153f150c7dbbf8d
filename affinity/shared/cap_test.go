package shared_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/redistest"
)

// However many replicas claim sessions for a pod at once, it gets as many as it may, and each
// of the others is refused, by one call of the store.
func TestAPodGetsAsManySessionsAsItMay(t *testing.T) {
	server := redistest.Start(t)
	const long = 5 * time.Second // that does not run out however busy the machine is
	both := []*replica{startLeased(t, server.Addr(), "a", long), startLeased(t, server.Addr(), "b", long)}
	both[0].claimed(t, "first", "other")
	both[1].claimed(t, "first", "other")
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		pod := fmt.Sprint("chat-", round)
		most := rapid.Uint32Range(1, 8).Draw(rt, "most")
		attempts := rapid.IntRange(1, 24).Draw(rt, "attempts")
		gone := rapid.IntRange(0, 4).Draw(rt, "gone")
		before := both[0].called("claim") + both[1].called("claim")
		taken := claimAtOnce(t, both, pod, most, attempts)
		if want := min(int64(most), int64(attempts)); taken != want {
			rt.Fatalf("%d sessions of %d were taken, want %d", taken, attempts, want)
		}
		if calls := both[0].called("claim") + both[1].called("claim") - before; calls != int64(attempts) {
			rt.Fatalf("%d calls of the store for %d claims", calls, attempts)
		}
		left := taken - int64(forget(t, both[round%2], pod, gone))
		again := claimAtOnce(t, both, pod, most, attempts)
		if want := min(int64(most)-left, int64(attempts)); again != want {
			rt.Fatalf("%d more were taken beside %d, want %d", again, left, want)
		}
	})
}

var attempt atomic.Int64 // so that no key comes twice

// claimAtOnce has replicas claim new sessions for a pod at the same time, and returns how many
// were bound.
func claimAtOnce(t *testing.T, replicas []*replica, pod string, most uint32, attempts int) int64 {
	t.Helper()
	var taken atomic.Int64
	var all sync.WaitGroup
	for i := range attempts {
		key := fmt.Sprint("k-", attempt.Add(1))
		all.Go(func() {
			_, err := replicas[i%len(replicas)].Claim(t.Context(), service, key, pod, most, time.Now())
			switch {
			case err == nil:
				taken.Add(1)
			case !errors.Is(err, statefulroute.ErrPodRefused):
				t.Errorf("a claim: %v", err)
			}
		})
	}
	all.Wait()
	return taken.Load()
}

// forget has some of a pod's sessions be forgotten, and returns how many.
func forget(t *testing.T, r *replica, pod string, n int) int {
	t.Helper()
	page, _, err := r.List(t.Context(), service, pod, 1000, "")
	if err != nil {
		t.Fatal(err)
	}
	page = page[:min(n, len(page))]
	for _, b := range page {
		if err := r.Delete(t.Context(), service, b.Key); err != nil {
			t.Fatal(err)
		}
	}
	return len(page)
}
