package extproc

import (
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/internal/monotonic/clocktest"
)

func TestSamplesAreABurstAndThenARate(t *testing.T) {
	taken := func(s *sampler, from time.Time, n int, apart time.Duration) (count int) {
		for i := range n {
			if s.take(from.Add(time.Duration(i) * apart)) {
				count++
			}
		}
		return count
	}
	var s sampler
	if n := taken(&s, t0, 100, 0); n != sampleBurst {
		t.Errorf("%d of 100 requests at once were looked at, want %d", n, sampleBurst)
	}
	if n := taken(&s, t0.Add(time.Minute), 10, sampleEvery); n != 10 {
		t.Errorf("%d of 10 requests that are %v apart were looked at, want all", n, sampleEvery)
	}
	var busy sampler
	if n, most := taken(&busy, t0, 10_000, time.Millisecond), sampleBurst+int(10*time.Second/sampleEvery); n < most-1 || n > most {
		t.Errorf("%d of 10000 requests within 10 s were looked at, want %d", n, most)
	}
}

func TestMoreIsSampledWhenAPodIsHardlySeen(t *testing.T) {
	var s sampler
	now := t0
	taken := func(n int) (count int) {
		for range n {
			if now = now.Add(2 * time.Millisecond); s.take(now) {
				count++
			}
		}
		return count
	}
	if n := taken(5000); n > 420 {
		t.Errorf("%d of 5000 requests within 10 s were looked at, want 400 and a burst", n)
	}
	s.fine.Store(true)
	if n := taken(5000); n < 4990 {
		t.Errorf("%d of 5000 requests within 10 s were looked at, want all", n)
	}
	s.fine.Store(false)
	if n := taken(5000); n > 420 {
		t.Errorf("afterwards %d of 5000 were looked at", n)
	}
}

// A wall clock that is set must neither stop the looks at responses for an hour nor
// have every response looked at.
func TestTheSamplersWallClockMayBeSet(t *testing.T) {
	for _, set := range []time.Duration{time.Hour, -time.Hour} {
		var s sampler
		began := time.Now()
		for s.take(began) {
		}
		s.failed(began)
		later := clocktest.Set(began.Add(watchFailures-1), set)
		for range 3 * sampleBurst {
			if !s.take(later) {
				t.Fatalf("set by %s: a response soon after a failure was not looked at", set)
			}
		}
		later = clocktest.Set(began.Add(watchFailures), set)
		taken := 0
		for range 3 * sampleBurst {
			if s.take(later) {
				taken++
			}
		}
		if taken != sampleBurst {
			t.Errorf("set by %s: %d looks, want %d", set, taken, sampleBurst)
		}
	}
}
