package simulate

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/maypok86/otter/v2"

	"github.com/stateful-route/stateful-route/affinity"
)

const (
	// usualLive is enough for what is tested to be a law and not chance.
	usualLive = 4000
	// fullSize is that of `make affinity-sim`.
	fullSize = 250_000
)

var (
	live  = flag.Int("live", usualLive, "live sessions of the simulations; "+strconv.Itoa(fullSize)+" is full size")
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
	o.entries.CleanUp()
	return false
}

func (o otterTable) Has(id uint64, _ time.Duration) bool {
	_, ok := o.entries.GetEntryQuietly(id)
	return ok
}

// newAffinity makes tables with shards of the size they have at the default
// capacity: what a policy learns in a small one is more by chance.
func newAffinity(strategy string) func(capacity int) Table {
	return func(capacity int) Table {
		c, err := affinity.New(affinity.Options{Strategy: strategy, Capacity: capacity, Shards: max(capacity/12_500, 1)})
		if err != nil {
			panic(err)
		}
		return Affinity(c)
	}
}

var tables = []struct {
	name string
	make func(capacity int) Table
	// The workload, if not the usual one: otter moves the border between its two
	// parts by what it measures in 10 requests for each place, and needs dozens of
	// those until it is where it belongs. Its share does not depend on the size, but it
	// scatters where that is small.
	small     bool
	turnovers int
}{
	{name: "plain LRU", make: newPlainLRU},
	{name: "lru", make: newAffinity("lru")},
	{name: "lfu", make: newAffinity("lfu")},
	{name: "adaptive", make: newAffinity("adaptive")},
	{name: "ttl", make: newAffinity("ttl")},
	{name: "otter, not settled yet", make: newOtter},
	{name: "otter, settled", make: newOtter, small: true, turnovers: 400},
}

// notUnderRace skips a test that the race detector makes take minutes and in which it
// has nothing to find.
func notUnderRace(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("a simulation is one goroutine")
	}
}

// TestBrokenSessions is the table of broken returning requests, with the bounds
// that the strategies must keep: a fifth of what plain LRU breaks in the same run,
// since four ghosts are kept for each entry, and 5 % with bots.
func TestBrokenSessions(t *testing.T) {
	notUnderRace(t)
	broken := map[string]float64{}
	columns := []struct {
		name  string
		ratio int
		bots  float64
	}{{"4×", 4, 0}, {"2×", 2, 0}, {"4×, 2 bots", 4, 2}, {"2×, 2 bots", 2, 2}}
	var out strings.Builder
	fmt.Fprintf(&out, "| %d live | 4× | 2× | 4×, 2 bots | 2×, 2 bots |\n|---|--:|--:|--:|--:|\n| best possible |", *live)
	for _, c := range columns {
		fmt.Fprintf(&out, " %.2f %% |", 100*Workload{Live: *live, Bots: c.bots}.BestShare(c.ratio**live))
	}
	fmt.Fprintf(&out, "\n| the same, of 4.5 times the places |")
	for _, c := range columns {
		fmt.Fprintf(&out, " %.2f %% |", 100*Workload{Live: *live, Bots: c.bots}.BestShare(9*c.ratio**live/2))
	}
	for _, table := range tables {
		fmt.Fprintf(&out, "\n| %s |", table.name)
		for _, c := range columns {
			w := Workload{Seed: 1, Live: *live, Bots: c.bots, Turnovers: table.turnovers}
			if table.small {
				w.Live = min(max(*live/8, 500), 1000)
			}
			if table.small && c.bots > 0 && *live < fullSize {
				out.WriteString(" – |") // nothing is asked of it, and it takes half of the time
				continue
			}
			share := 100 * Run(w, table.make(c.ratio*w.Live)).BrokenShare()
			broken[table.name+c.name] = share
			fmt.Fprintf(&out, " %.2f %% |", share)
		}
	}
	t.Logf("broken returning requests:\n%s", out.String())
	writeTable(t, out.String())
	if p := broken["plain LRU4×"]; p < 1.2 || p > 1.8 {
		t.Errorf("plain LRU breaks %.2f %% at 4×: not the workload it should be", p)
	}
	for _, c := range columns {
		// What the calculation of the best is worth: plain LRU by the same one.
		p, calculated := broken["plain LRU"+c.name], 100*Workload{Live: *live, Bots: c.bots}.LRUShare(c.ratio**live)
		if p < 0.9*calculated || p > 1.1*calculated {
			t.Errorf("%s: plain LRU %.2f %%, calculated %.2f %%", c.name, p, calculated)
		}
		for _, name := range []string{"lru", "lfu", "adaptive"} {
			b := broken[name+c.name]
			if b > p/5 {
				t.Errorf("%s: %s %.2f %%, plain LRU %.2f %%", c.name, name, b, p)
			}
			if b > 5 {
				t.Errorf("%s: %s %.2f %%, want at most 5 %%", c.name, name, b)
			}
		}
	}
	for column, want := range map[string]float64{"4×": 3, "2×": 8} {
		if o := broken["otter, settled"+column]; o > want {
			t.Errorf("%s: otter breaks %.2f %%: it is not driven as it should be", column, o)
		}
	}
}

// TestFlood lets forty made-up ids come for each live session, 10M at full size.
// If they come at once, or nearly so, they may break 1 % of the sessions alive.
// In a slower flood sessions would break without it, too: what it adds counts as
// well, and it must break fewer than plain LRU breaks without a flood.
func TestFlood(t *testing.T) {
	notUnderRace(t)
	var out strings.Builder
	w := Workload{Seed: 1, Live: *live}
	session := w.withDefaults().meanDuration()
	overs := []struct {
		name          string
		over          time.Duration
		most, mostNet float64
	}{
		{"at once", 1, 0.01, 0.01},
		{"in 1/100 session time", session / 100, 0.01, 0.01},
		{"in 1", session, 0.05, 0.01},
		// No longer a flood, but four bots for each session.
		{"in 10", 10 * session, 0.22, 0.1},
	}
	fmt.Fprintf(&out, "| %d live, %d made-up ids |", *live, 40**live)
	for _, o := range overs {
		fmt.Fprintf(&out, " %s |", o.name)
	}
	fmt.Fprintf(&out, "\n|---%s|", strings.Repeat("|--:", len(overs)))
	plain := map[string]float64{}
	for _, ratio := range []int{4, 2} {
		for _, table := range tables[:2] {
			fmt.Fprintf(&out, "\n| %s, %d× |", table.name, ratio)
			for _, o := range overs {
				calm := RunFlood(w, table.make(ratio**live), Flood{Over: o.over}).BrokenShare()
				r := RunFlood(w, table.make(ratio**live), Flood{IDs: 40 * *live, Over: o.over})
				fmt.Fprintf(&out, " %.2f %% (without %.2f %%) |", 100*r.BrokenShare(), 100*calm)
				if table.name != "lru" {
					plain[o.name] = calm
				} else if o.over >= session && r.BrokenShare() > plain[o.name] {
					t.Errorf("%d×: the flood %s broke %.2f %%, plain LRU without it %.2f %%", ratio, o.name, 100*r.BrokenShare(), 100*plain[o.name])
				}
				if table.name == "lru" && (r.BrokenShare() > o.most || r.BrokenShare()-calm > o.mostNet) {
					t.Errorf("%d×: the flood %s broke %.2f %% of the live sessions, %.2f %% broke without it", ratio, o.name, 100*r.BrokenShare(), 100*calm)
				}
			}
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
	defer f.Close()
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
	notUnderRace(t)
	few, many := Workload{Seed: 1, Live: *live}, Workload{Seed: 2, Live: 3 * *live}
	shift := later{ids: 1 << 41, at: few.withDefaults().duration()}
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
	if first := run(1); first != run(1) || first == run(2) {
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
