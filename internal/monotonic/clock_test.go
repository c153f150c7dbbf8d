package monotonic_test

import (
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/internal/monotonic"
	"github.com/stateful-route/stateful-route/internal/monotonic/clocktest"
)

func TestTheWallClockMayBeSet(t *testing.T) {
	for _, set := range []time.Duration{time.Hour, -time.Hour, 30 * 24 * time.Hour} {
		var c monotonic.Clock
		began := time.Now()
		first := c.Nanos(began)
		if first != began.UnixNano() {
			t.Fatalf("the first time is %d, want Unix time, %d", first, began.UnixNano())
		}
		later := clocktest.Set(began.Add(time.Minute), set)
		if d := c.Nanos(later) - first; d != int64(time.Minute) {
			t.Errorf("set by %s, a minute took %s", set, time.Duration(d))
		}
		// The first time is shown as the clock goes now, and its age is right.
		if shown := c.Time(first); !shown.Round(0).Equal(began.Add(set).Round(0)) || later.Sub(shown) != time.Minute {
			t.Errorf("set by %s, %s is shown as %s, %s old", set, began, shown, later.Sub(shown))
		}
		if wall := c.Wall(first); !wall.Equal(c.Time(first).Round(0)) {
			t.Errorf("set by %s, %s is %s on the wall", set, c.Time(first), wall)
		}
		// Somebody who read the clock before it was set, and is late.
		if d := c.Nanos(began.Add(30*time.Second)) - first; d != int64(30*time.Second) {
			t.Errorf("set by %s, half a minute took %s", set, time.Duration(d))
		}
	}
}

func TestTimesWithoutAMonotonicReading(t *testing.T) {
	var c monotonic.Clock
	at := time.Unix(1_800_000_000, 5)
	if got := c.Time(at.UnixNano()); !got.Equal(at) {
		t.Errorf("before the first call: %s, want %s", got, at)
	}
	if n := c.Nanos(at); n != at.UnixNano() || !c.Time(n-7).Equal(at.Add(-7)) {
		t.Errorf("%d is %s", n, c.Time(n))
	}
	if n := c.Nanos(at.Add(-time.Hour)); n != at.Add(-time.Hour).UnixNano() {
		t.Errorf("an hour earlier: %d", n)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	var c monotonic.Clock
	now := time.Now()
	c.Nanos(now)
	if n := testing.AllocsPerRun(100, func() { now = now.Add(time.Second); c.Time(c.Nanos(now)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
