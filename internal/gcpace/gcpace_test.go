package gcpace

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestPercent(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		live, room uint64
		want       int
	}{
		{0, 32 * mb, 3200}, {1, 32 * mb, 3200}, {8 * mb, 32 * mb, 400}, {31 * mb, 32 * mb, 103},
		{32 * mb, 32 * mb, 100}, {1 << 40, 32 * mb, 100}, {mb, 1 << 50, 100_000},
	} {
		if got := percent(c.live, c.room); got != c.want {
			t.Errorf("%d bytes alive, room for %d: %d %%, want %d", c.live, c.room, got, c.want)
		}
	}
}

// inForce is the collector's percentage.
func inForce() int {
	now := debug.SetGCPercent(usual)
	debug.SetGCPercent(now)
	return now
}

// keep is what is alive.
var keep []byte

func TestALargeHeapIsCollectedAsUsual(t *testing.T) {
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	t.Cleanup(func() { debug.SetGCPercent(usual); keep = nil })
	p := New(16 << 20)
	runtime.GC()
	p.Tick()
	small := inForce()
	if small < 2*usual {
		t.Errorf("a small heap is collected at %d %%", small)
	}
	keep = make([]byte, 64<<20)
	runtime.GC()
	p.Tick()
	if got := inForce(); got != usual {
		t.Errorf("a large heap is collected at %d %%", got)
	}
	keep = nil
	runtime.GC()
	p.Tick()
	if got := inForce(); got < small/2 {
		t.Errorf("small again, it is collected at %d %%, was %d", got, small)
	}
}

func TestWhatTheUserSaysHolds(t *testing.T) {
	t.Cleanup(func() { debug.SetGCPercent(usual) })
	for name, value := range map[string]string{"GOGC": "50", "GOMEMLIMIT": "100MiB"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			debug.SetGCPercent(50)
			runtime.GC()
			New(64 << 20).Tick()
			if got := inForce(); got != 50 {
				t.Errorf("%d %%", got)
			}
		})
	}
}
