package e2e

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// leniency is what a killed pod excuses. Envoy learns of the death by the connections
// that break, extproc by the health check: after two failures half a second apart. A
// request to the pod that begins in between is refused, for no other pod may have it.
type leniency struct {
	// deathKnown is how long after the kill a request may be refused.
	deathKnown time.Duration
	// breaking is how long after the kill a request may still be sent on a connection
	// whose end Envoy has not read yet.
	breaking time.Duration
}

// leniencyOf is more than that takes, and much more in a short run, which shares the
// machine with other tests.
func leniencyOf(long bool) leniency {
	if long {
		return leniency{deathKnown: 3 * time.Second, breaking: 200 * time.Millisecond}
	}
	return leniency{deathKnown: 10 * time.Second, breaking: 3 * time.Second}
}

// Sums of one event.
type faultSums struct {
	moved       int // sessions of the killed pod, which may
	onThePod    int // failures of requests that were on it when it was killed
	beforeKnown int // failures of its sessions before its death was known
	strayed     int // answers of other pods to sessions, which may not be
	failed      int // any other failure
	first       string
}

type verdict struct {
	events []faultEvent
	sums   []faultSums // one for each event, and the last for what fell in none
	growth []growth
	leniency
}

// judgeFaults says of everything odd to which event it belongs and whether that
// excuses it.
func judgeFaults(l *faultLoad, events []faultEvent, usage map[string][]harness.Usage, long bool) verdict {
	v := verdict{events: events, sums: make([]faultSums, len(events)+1), leniency: leniencyOf(long)}
	for _, odd := range l.oddness {
		at, excuse := v.excused(odd, events)
		sums := &v.sums[at]
		switch {
		case excuse == "moved":
			sums.moved++
		case excuse == "on the pod":
			sums.onThePod++
		case excuse == "before known":
			sums.beforeKnown++
		case odd.Failure == "":
			sums.strayed++
			sums.first = cmp.Or(sums.first, fmt.Sprintf("a session of %s was served by %s %v after", odd.Pod, odd.Served, since(events, at, odd.Began)))
		default:
			sums.failed++
			sums.first = cmp.Or(sums.first, fmt.Sprintf("%q %v after", odd.Failure, since(events, at, odd.Began)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(usage)) {
		v.growth = append(v.growth, grown(name, usage[name]))
	}
	return v
}

// excused finds the kill that explains what was odd, or else the last event that
// had begun when the request ended.
func (l leniency) excused(odd oddity, events []faultEvent) (at int, excuse string) {
	at = len(events)
	for i, e := range events {
		if !e.At.After(odd.Ended) {
			at = i
		}
	}
	for i, e := range events {
		if e.Pod == "" || e.At.After(odd.Ended) {
			continue
		}
		switch {
		case odd.Failure == "":
			// The session was last served by the pod before it was killed.
			if odd.Pod == e.Pod && !odd.Last.After(e.At) {
				return i, "moved"
			}
		case odd.Began.Before(e.At.Add(l.breaking)) && (odd.Pod == e.Pod || odd.Pod == ""):
			// Which pod had a request without a session, or a session's first one, is not known.
			return i, "on the pod"
		case odd.Pod == e.Pod && odd.Began.Before(e.At.Add(l.deathKnown)) && strings.HasPrefix(odd.Failure, "status 503"):
			return i, "before known"
		}
	}
	return at, ""
}

func since(events []faultEvent, at int, t time.Time) time.Duration {
	if at == len(events) {
		return 0
	}
	return t.Sub(events[at].At).Round(time.Millisecond)
}

// growth compares what a program held in the first and in the last third of the
// time, by medians. It is restarted in between, and young as often in both.
type growth struct {
	name        string
	samples     int
	first, last harness.Usage
}

// A third of three periods at least: before, there is nothing to compare.
const enoughSamples = 150

func grown(name string, samples []harness.Usage) growth {
	g := growth{name: name, samples: len(samples)}
	third := len(samples) / 3
	if third == 0 {
		return g
	}
	g.first, g.last = medians(samples[:third]), medians(samples[len(samples)-third:])
	return g
}

func medians(samples []harness.Usage) harness.Usage {
	return harness.Usage{
		RSS:         median(samples, func(u harness.Usage) int64 { return u.RSS }),
		Goroutines:  int(median(samples, func(u harness.Usage) int64 { return int64(u.Goroutines) })),
		Descriptors: int(median(samples, func(u harness.Usage) int64 { return int64(u.Descriptors) })),
	}
}

func median(samples []harness.Usage, of func(harness.Usage) int64) int64 {
	values := make([]int64, len(samples))
	for i, u := range samples {
		values[i] = of(u)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// What may differ by chance: a fifth, and a little where there is little.
func (g growth) flat() (faults []string) {
	for _, m := range []struct {
		what        string
		first, last int64
		margin      int64
	}{
		{"bytes of memory", g.first.RSS, g.last.RSS, 8 << 20},
		{"goroutines", int64(g.first.Goroutines), int64(g.last.Goroutines), 20},
		{"descriptors", int64(g.first.Descriptors), int64(g.last.Descriptors), 16},
	} {
		if m.last > m.first+m.first/5+m.margin {
			faults = append(faults, fmt.Sprintf("%s grew from %d to %d %s", g.name, m.first, m.last, m.what))
		}
	}
	return faults
}

// faults is what must not be.
func (v verdict) faults(long bool) (faults []string) {
	for i, s := range v.sums {
		if s.strayed+s.failed > 0 {
			faults = append(faults, fmt.Sprintf("%s: %d answers of other pods than the session's, %d failures; the first: %s", v.event(i), s.strayed, s.failed, s.first))
		}
	}
	for _, g := range v.growth {
		if long && g.samples >= enoughSamples {
			faults = append(faults, g.flat()...)
		}
	}
	return faults
}

func (v verdict) event(i int) string {
	if i == len(v.events) {
		return "before all events"
	}
	return v.events[i].What
}

// text is the table.
func (v verdict) text(plan faultPlan, l *faultLoad) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d requests of %d sessions, and of clients without one, in %v\n\n", l.requests.Load(), l.sessions.Load(), plan.length)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "event\tat\tback after\tmoved with the pod\tin flight on it\trefused before its death was known\tstrayed\tfailed")
	for i, s := range v.sums {
		at, back := "", ""
		if i < len(v.events) {
			e := v.events[i]
			at, back = e.At.Sub(v.events[0].At).Round(time.Second).String(), e.Over.Sub(e.At).Round(time.Millisecond).String()
		} else if s == (faultSums{}) {
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\n", v.event(i), at, back, s.moved, s.onThePod, s.beforeKnown, s.strayed, s.failed)
	}
	w.Flush()
	fmt.Fprintf(&b, "\nIn flight on the pod: a request of one of its sessions, or of a client whose pod is not known, that began no later than %v after the kill.\n"+
		"Before its death was known: a 503 to one of its sessions within %v of the kill. Strayed: an answer of another pod than the session's.\n\n", v.breaking, v.deathKnown)
	w = tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "program\tsamples\tMB\tgoroutines\tdescriptors\t(medians of the first and the last third)")
	for _, g := range v.growth {
		fmt.Fprintf(w, "%s\t%d\t%.1f → %.1f\t%d → %d\t%d → %d\t\n", g.name, g.samples, float64(g.first.RSS)/1e6, float64(g.last.RSS)/1e6,
			g.first.Goroutines, g.last.Goroutines, g.first.Descriptors, g.last.Descriptors)
	}
	w.Flush()
	fmt.Fprintf(&b, "\nFlat: no more than a fifth above, and 8 MB, 20 goroutines, 16 descriptors; judged from %d samples on.\n", enoughSamples)
	return b.String()
}

// The judge excuses what a dead pod explains, and nothing else.
func TestFaultsAreJudged(t *testing.T) {
	t.Parallel()
	t0 := time.Now()
	at := func(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }
	events := []faultEvent{{What: "kill of chat-0", Pod: "chat-0", At: at(10)}, {What: "restart of extproc", At: at(30)}}
	const refused = "status 503: no healthy upstream"
	for _, c := range []struct {
		name   string
		odd    oddity
		event  int
		excuse string
	}{
		{"moved with its pod", oddity{Key: "k", Pod: "chat-0", Served: "chat-1", Last: at(9), Began: at(12), Ended: at(12.1)}, 0, "moved"},
		{"moved before the kill", oddity{Key: "k", Pod: "chat-0", Served: "chat-1", Last: at(8), Began: at(9), Ended: at(9.1)}, 2, ""},
		{"moved though the pod was back", oddity{Key: "k", Pod: "chat-0", Served: "chat-1", Last: at(20), Began: at(31), Ended: at(31.1)}, 1, ""},
		{"moved off another pod", oddity{Key: "k", Pod: "chat-2", Served: "chat-1", Last: at(9), Began: at(12), Ended: at(12.1)}, 0, ""},
		{"in flight", oddity{Key: "k", Pod: "chat-0", Began: at(9.9), Ended: at(10.1), Failure: "EOF"}, 0, "on the pod"},
		{"in flight elsewhere", oddity{Key: "k", Pod: "chat-1", Began: at(9.9), Ended: at(10.1), Failure: "EOF"}, 0, ""},
		{"in flight without a session", oddity{Began: at(9.9), Ended: at(10.1), Failure: "status 502"}, 0, "on the pod"},
		{"later without a session", oddity{Began: at(10.5), Ended: at(10.6), Failure: refused}, 0, ""},
		{"before its death is known", oddity{Key: "k", Pod: "chat-0", Began: at(11), Ended: at(11.1), Failure: refused}, 0, "before known"},
		{"not refused but broken", oddity{Key: "k", Pod: "chat-0", Began: at(11), Ended: at(11.1), Failure: "EOF"}, 0, ""},
		{"long after", oddity{Key: "k", Pod: "chat-0", Began: at(14), Ended: at(14.1), Failure: refused}, 0, ""},
		{"extproc restarts", oddity{Key: "k", Pod: "chat-1", Began: at(30.1), Ended: at(30.2), Failure: refused}, 1, ""},
	} {
		if event, excuse := leniencyOf(true).excused(c.odd, events); event != c.event || excuse != c.excuse {
			t.Errorf("%s: event %d, %q; want %d, %q", c.name, event, excuse, c.event, c.excuse)
		}
	}
	usage := make([]harness.Usage, 300)
	for i := range usage {
		usage[i] = harness.Usage{RSS: 50 << 20, Goroutines: 100, Descriptors: 40}
	}
	if g := grown("extproc", usage); len(g.flat()) > 0 {
		t.Errorf("flat: %v", g.flat())
	}
	for i := range usage {
		usage[i].RSS += int64(i) << 18
		usage[i].Goroutines += i
		usage[i].Descriptors += i
	}
	if g := grown("extproc", usage); len(g.flat()) != 3 {
		t.Errorf("growing: %v", g.flat())
	}
}
