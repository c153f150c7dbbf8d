package store

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/internal/monotonic/clocktest"
)

// machine is a machine whose wall clock can be set, and which can be started again.
type machine struct {
	mu   sync.Mutex // the store's writer looks at the clock, too
	now  time.Time  // as the machine's clocks go
	set  time.Duration
	boot string
	up   time.Duration
}

func (m *machine) time() time.Time { return m.moment().at }

func (m *machine) moment() moment {
	m.mu.Lock()
	defer m.mu.Unlock()
	return moment{clocktest.Set(m.now, m.set), m.boot, m.up}
}

func (m *machine) options(path string) Options {
	return Options{Path: path, now: m.time, moment: m.moment}
}

// pass lets time pass.
func (m *machine) pass(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
	m.up += d
}

// adjust sets the wall clock forward.
func (m *machine) adjust(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set += d
}

// What is old is as old after a restart as it was before, whatever the wall clock was
// set to in the meantime. A process ended after 10 minutes; the next one begins a
// minute later.
func TestAgesOutliveTheProcess(t *testing.T) {
	for name, c := range map[string]struct {
		running, between time.Duration // by which the wall clock was set
		reboot           bool
		wrong            time.Duration // how much older all looks
	}{
		"nothing was set":                        {},
		"set forward while the process ran":      {running: time.Hour},
		"set back while the process ran":         {running: -time.Hour},
		"set forward between two processes":      {between: time.Hour},
		"set back between two processes":         {between: -time.Hour},
		"set both times":                         {running: -time.Hour, between: 3 * time.Hour},
		"another boot":                           {reboot: true},
		"another boot, set while a process ran":  {running: time.Hour, reboot: true},
		"another boot, and set when nobody saw":  {between: time.Hour, reboot: true, wrong: time.Hour},
		"another boot, and set back, unobserved": {between: -time.Hour, reboot: true, wrong: -time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			m := &machine{now: time.Now(), boot: "first", up: time.Hour}
			path := filepath.Join(t.TempDir(), "pins.db")
			s, _, stop := open(t, m.options(path), nil)
			early, late := binding(1), binding(2)
			early.Created, early.LastSeen = m.time(), m.time()
			m.pass(5 * time.Minute)
			s.Put(early)
			m.adjust(c.running)
			m.pass(5 * time.Minute)
			late.Created, late.LastSeen = m.time(), m.time()
			s.Put(late)
			stop()
			m.adjust(c.between)
			m.pass(time.Minute)
			if c.reboot {
				m.boot, m.up = "second", time.Minute
			}
			for restart := range 3 { // the times stay right over several
				s, found, stop := open(t, m.options(path), nil)
				got := byKey(found.Bindings)
				for key, want := range map[string]time.Duration{early.Key: 11 * time.Minute, late.Key: time.Minute} {
					b := got["chat/"+key]
					for what, at := range map[string]time.Time{"created": b.Created, "seen": b.LastSeen} {
						age := m.time().Round(0).Sub(at) - time.Duration(restart)*time.Minute
						if off := age - want - c.wrong; off.Abs() > believed {
							t.Errorf("restart %d: %s is %s %s ago, want %s", restart, key, what, age, want+c.wrong)
						}
					}
				}
				s.Put(binding(3)) // so that it writes, and its mark with it
				stop()
				m.pass(time.Minute)
			}
		})
	}
}

func TestADamagedMarkIsNone(t *testing.T) {
	m := mark{boot: "boot", mono: time.Hour, file: 1_800_000_000_000_000_000, correction: -int64(time.Hour)}
	value := m.encode()
	if got := decodeMark(value); got != m {
		t.Fatalf("got %+v, want %+v", got, m)
	}
	for i := range value {
		bad := append([]byte(nil), value...)
		bad[i] ^= 4
		if decodeMark(bad) != (mark{}) || decodeMark(value[:i]) != (mark{}) {
			t.Errorf("changed or cut at byte %d unnoticed", i)
		}
	}
}

// The machine's own clocks are read rightly: time between two looks is the same by
// each.
func TestReadMoment(t *testing.T) {
	a := readMoment()
	for time.Since(a.at) < 5*time.Millisecond {
	}
	b := readMoment()
	if a.boot == "" || a.boot != b.boot {
		t.Fatalf("boots %q and %q", a.boot, b.boot)
	}
	if off := b.at.Sub(a.at) - (b.mono - a.mono); off.Abs() > time.Second {
		t.Errorf("%s by one clock, %s by the other", b.at.Sub(a.at), b.mono-a.mono)
	}
}
