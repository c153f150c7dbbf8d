package simulate

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/maypok86/otter/v2"

	"github.com/stateful-route/stateful-route/affinity"
)

var (
	live  = flag.Int("live", 4000, "live sessions of the simulations; 250000 is full size")
	table = flag.String("table", "", "write the table of broken sessions to this file")
)

// plainLRU is simplelru with nothing of ours.
type plainLRU struct {
	entries *simplelru.LRU[uint64, struct{}]
}

func newPlainLRU(capacity int) Table {
	entries, err := simplelru.NewLRU[uint64, struct{}](capacity, nil)
	if err != nil {
		panic(err)
	}
	return plainLRU{entries}
}

func (p plainLRU) Request(id uint64, _ time.Duration) bool {
	if _, ok := p.entries.Get(id); ok {
		return true
	}
	p.entries.Add(id, struct{}{})
	return false
}

func (p plainLRU) Has(id uint64, _ time.Duration) bool { return p.entries.Contains(id) }

// otterTable is otter, made to do its maintenance at once.
type otterTable struct {
	entries *otter.Cache[uint64, struct{}]
}

func newOtter(capacity int) Table {
	return otterTable{otter.Must(&otter.Options[uint64, struct{}]{
		MaximumSize: capacity,
		Executor:    func(f func()) { f() },
	})}
}

func (o otterTable) Request(id uint64, _ time.Duration) bool {
	if _, ok := o.entries.GetIfPresent(id); ok {
		return true
	}
	o.entries.Set(id, struct{}{})
	// One goroutine leaves otter no pause of its own to make room in.
	if id%64 == 0 {
		o.entries.CleanUp()
	}
	return false
}

func (o otterTable) Has(id uint64, _ time.Duration) bool {
	_, ok := o.entries.GetEntryQuietly(id)
	return ok
}

func newAffinity(strategy string) func(capacity int) Table {
	return func(capacity int) Table {
		c, err := affinity.New(affinity.Options{Strategy: strategy, Capacity: capacity})
		if err != nil {
			panic(err)
		}
		return Affinity(c)
	}
}

var tables = []struct {
	name string
	make func(capacity int) Table
}{
	{"plain LRU", newPlainLRU},
	{"lru", newAffinity("lru")},
	{"lfu", newAffinity("lfu")},
	{"adaptive", newAffinity("adaptive")},
	{"ttl", newAffinity("ttl")},
	{"otter", newOtter},
}

// TestBrokenSessions is the table of broken returning requests, with the bounds
// that lru must keep beside plain LRU in the same run.
func TestBrokenSessions(t *testing.T) {
	broken := map[string]float64{}
	var out strings.Builder
	fmt.Fprintf(&out, "| %d live | 4× | 2× | 4×, 2 bots | 2×, 2 bots |\n|---|---|---|---|---|\n", *live)
	for _, table := range tables {
		fmt.Fprintf(&out, "| %s |", table.name)
		for _, bots := range []float64{0, 2} {
			for _, ratio := range []int{4, 2} {
				w := Workload{Seed: 1, Live: *live, Bots: bots}
				share := 100 * Run(w, table.make(ratio**live)).BrokenShare()
				broken[fmt.Sprintf("%s%d%.0f", table.name, ratio, bots)] = share
				fmt.Fprintf(&out, " %.2f %% |", share)
			}
		}
		fmt.Fprintln(&out)
	}
	t.Logf("broken returning requests:\n%s", out.String())
	writeTable(t, out.String())
	if p := broken["plain LRU40"]; p < 1.2 || p > 1.8 {
		t.Errorf("plain LRU breaks %.2f %% at 4×: not the workload it should be", p)
	}
	for _, ratio := range []string{"4", "2"} {
		if l, p := broken["lru"+ratio+"0"], broken["plain LRU"+ratio+"0"]; l > 1.1*p {
			t.Errorf("%s×: lru %.2f %%, plain LRU %.2f %%", ratio, l, p)
		}
		if l, p := broken["lru"+ratio+"2"], broken["plain LRU"+ratio+"2"]; l > 0.9*p {
			t.Errorf("%s× with bots: lru %.2f %%, plain LRU %.2f %%", ratio, l, p)
		}
	}
	if l := broken["lru42"]; l > 5.0 {
		t.Errorf("4× with bots: lru %.2f %%, want at most 5 %%", l)
	}
}

// TestFlood lets ten made-up ids come for each place in a full table.
func TestFlood(t *testing.T) {
	var out strings.Builder
	fmt.Fprintf(&out, "| %d live, 10 made-up ids per place | no flood | flood in 1 session time | in 10 |\n|---|---|---|---|\n", *live)
	w := Workload{Seed: 1, Live: *live}
	session := w.withDefaults().meanDuration()
	for _, ratio := range []int{4, 2} {
		capacity := ratio * *live
		for _, table := range []int{0, 1} {
			fmt.Fprintf(&out, "| %s, %d× |", tables[table].name, ratio)
			calm := map[time.Duration]FloodResult{}
			for _, over := range []time.Duration{session, 10 * session} {
				calm[over] = RunFlood(w, tables[table].make(capacity), Flood{Over: over})
			}
			fmt.Fprintf(&out, " %.2f / %.2f %% |", 100*calm[session].BrokenShare(), 100*calm[10*session].BrokenShare())
			for _, over := range []time.Duration{session, 10 * session} {
				r := RunFlood(w, tables[table].make(capacity), Flood{IDs: 10 * capacity, Over: over})
				fmt.Fprintf(&out, " %.2f %% (proven %.2f %%) |", 100*r.BrokenShare(), 100*r.ProvenShare())
				bound := 0.01
				if over > session {
					bound = 0.025 // no longer a flood, but bots at five times the sessions' rate
				}
				if extra := r.BrokenShare() - calm[over].BrokenShare(); table == 1 && extra > bound {
					t.Errorf("%d×: the flood broke %.2f %% more live sessions", ratio, 100*extra)
				}
			}
			fmt.Fprintln(&out)
		}
	}
	t.Logf("sessions alive when the flood began, broken when they came back:\n%s", out.String())
	writeTable(t, out.String())
}

func writeTable(t *testing.T, text string) {
	if *table == "" {
		return
	}
	f, err := os.OpenFile(*table, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // WriteString has told of errors
	if _, err := f.WriteString(text + "\n"); err != nil {
		t.Fatal(err)
	}
}

// later plays a workload after another one: to new ids, from a time on.
type later struct {
	Table
	ids uint64
	at  time.Duration
}

func (l later) Request(id uint64, at time.Duration) bool {
	return l.Table.Request(l.ids+id, l.at+at)
}

// TestMoreSessionsAreNoFlood: three times as many sessions as before must be
// served as plain LRU would serve them, not be taken for a flood for good.
func TestMoreSessionsAreNoFlood(t *testing.T) {
	few, many := Workload{Seed: 1, Live: *live}, Workload{Seed: 2, Live: 3 * *live}
	shift := later{ids: 1 << 41, at: Turnovers * few.withDefaults().meanDuration()}
	var share [2]float64
	for i := range share {
		shift.Table = tables[i].make(6 * *live)
		Run(few, shift.Table)
		share[i] = Run(many, shift).BrokenShare()
	}
	t.Logf("broken: plain LRU %.2f %%, lru %.2f %%", 100*share[0], 100*share[1])
	if share[1] > 1.1*share[0] {
		t.Errorf("plain LRU broke %.2f %%, lru %.2f %%", 100*share[0], 100*share[1])
	}
}

// TestSeedDecides: the same seed gives the same run.
func TestSeedDecides(t *testing.T) {
	run := func(seed uint64) Result { return Run(Workload{Seed: seed, Live: 200}, newPlainLRU(400)) }
	if run(1) != run(1) || run(1) == run(2) {
		t.Fatal("a run does not depend on its seed alone")
	}
}

// TestWorkloadIsWhatItSays checks the mean number of live sessions, by Little's
// law, and of requests.
func TestWorkloadIsWhatItSays(t *testing.T) {
	w := Workload{Seed: 3, Live: 1000, Bots: 2}.withDefaults()
	s := newStream(w)
	var alive, requests, sessions, bots float64
	for e := s.next(); e.At < 40*w.meanDuration(); e = s.next() {
		switch {
		case e.Bot:
			bots++
			continue
		case !e.Returning:
			sessions++
		}
		requests++
		alive += float64(len(s.pending))
	}
	alive /= requests
	near := func(what string, got, want float64) {
		if got < 0.93*want || got > 1.07*want {
			t.Errorf("%s: %.3f, want about %.3f", what, got, want)
		}
	}
	near("requests in a session", requests/sessions, w.Requests)
	near("bots by sessions", bots/sessions, 2)
	near("sessions alive", alive, 1000)
}
