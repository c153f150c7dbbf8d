package simulate

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

// compare runs a small comparison: half the measured time of the table, one seed.
// Under the race detector it is skipped: a run is one goroutine, and slow there.
func compare(t *testing.T, s Setting, policies ...string) map[string]Result {
	t.Helper()
	if raceEnabled {
		t.Skip("a simulation is one goroutine")
	}
	if s.Measure == 0 {
		s.Measure = 20 * time.Second
	}
	c, err := Compare(s, policies, 1)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]Result{"ideal": c.Ideal}
	for _, r := range c.Results {
		out[r.Policy] = r
	}
	return out
}

func atMost(t *testing.T, what string, got, limit float64) {
	t.Helper()
	t.Logf("%s: %.3f (at most %.3f)", what, got, limit)
	if !(got <= limit) {
		t.Errorf("%s = %.3f, want at most %.3f", what, got, limit)
	}
}

func p99(rs map[string]Result, policy string) float64 {
	return float64(rs[policy].P99) / float64(rs["ideal"].P99)
}

func p999(rs map[string]Result, policy string) float64 {
	return float64(rs[policy].P999) / float64(rs["ideal"].P999)
}

func TestPlacingEachRequest(t *testing.T) {
	const lrt, peak = "least_response_time", "peak_ewma"
	sound := compare(t, Setting{Load: .75, Mixed: true}, lrt, peak, EDSLeastRequest)
	atMost(t, "least_response_time p99 at .75", p99(sound, lrt), 1.15)
	atMost(t, "peak_ewma p99 at .75", p99(sound, peak), 1.6)
	atMost(t, "EDS weights p99 at .75", p99(sound, EDSLeastRequest), 2)
	slow := compare(t, Setting{Load: .75, Mixed: true, Fault: TurnsSlow}, lrt, peak, EDSLeastRequest)
	atMost(t, "least_response_time p99 with a slow pod", p99(slow, lrt), 1.25)
	atMost(t, "peak_ewma p99 with a slow pod", p99(slow, peak), 1.6)
	atMost(t, "EDS weights p99 with a slow pod", p99(slow, EDSLeastRequest), 2)
	failing := compare(t, Setting{Load: .75, Mixed: true, Fault: Failing}, lrt, "least_connections", "prequal_hcl")
	for _, policy := range []string{lrt, "least_connections", "prequal_hcl"} {
		atMost(t, policy+" errors with a failing pod", failing[policy].Errors, .001)
	}
}

func TestPlacingSessions(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		s := Setting{Load: .60, Mixed: true, Sticky: true, Replicas: replicas}
		sound := compare(t, s, "home_hcl")
		atMost(t, "home_hcl p99 at .60", p99(sound, "home_hcl"), 2.4)
		atMost(t, "home_hcl away from home", sound["home_hcl"].Away, .35)
		s.Fault = Slow
		slow := compare(t, s, "home_hcl", "least_connections")
		atMost(t, "home_hcl p99 with a slow pod", p99(slow, "home_hcl"), 2.4)
		atMost(t, "home_hcl away from home with a slow pod", slow["home_hcl"].Away, .35)
		atMost(t, "home_hcl p99.9 over least_connections' with a slow pod",
			p999(slow, "home_hcl")/p999(slow, "least_connections"), .5)
	}
}

// In a small service a slow pod is a large part, and shows at p99. The numbers of pods
// were chosen after looking: see design/balancing-simulation.md.
func TestPlacingSessionsBesideASlowPodInASmallService(t *testing.T) {
	for _, pods := range []int{8, 10} {
		for _, replicas := range []int{1, 3} {
			s := Setting{Load: .60, Mixed: true, Sticky: true, Replicas: replicas, Pods: pods, Fault: Slow, Measure: 40 * time.Second}
			slow := compare(t, s, "home_hcl", "least_connections")
			worse := p99(slow, "least_connections") / p99(slow, "home_hcl")
			t.Logf("%s: least_connections' p99 is %.2f times home_hcl's", s.Name(), worse)
			if (replicas == 3 || pods == 8) && worse < 3 {
				t.Errorf("want at least 3 times")
			}
			atMost(t, "home_hcl away from home", slow["home_hcl"].Away, .35)
		}
	}
}

// A pod that turns slow hurts the sessions bound to it, whoever placed them; those
// placed from then on do not go there.
func TestNewSessionsLeaveAPodThatTurnsSlow(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		s := Setting{Load: .60, Mixed: true, Sticky: true, Replicas: replicas, Fault: TurnsSlow}
		r := compare(t, s, "home_hcl")
		atMost(t, s.Name()+": home_hcl p99 of new sessions", float64(r["home_hcl"].NewP99)/float64(r["ideal"].P99), 2.4)
	}
}

// The weights that xds-server makes of sampled response times, as it gets them.
func TestSampledWeights(t *testing.T) {
	for _, fault := range []Fault{Sound, TurnsSlow} {
		s := Setting{Load: .75, Mixed: true, Fault: fault}
		atMost(t, s.Name()+": sampled EDS weights p99", p99(compare(t, s, EDSSampled), EDSSampled), 2)
	}
}

// Equal pods that nothing disturbs must keep equal weights, and mixed ones settle.
func TestEDSWeightsSettle(t *testing.T) {
	for _, s := range []Setting{
		{Load: .75, Calm: true, Pods: 8},
		{Load: .75, Calm: true, Pods: 8, Mixed: true},
		{Load: .50, Calm: true, Pods: 8, Fault: Slow},
	} {
		s.Measure = 60 * time.Second
		r := compare(t, s, EDSLeastRequest)[EDSLeastRequest]
		atMost(t, s.Name()+": spread of weights", r.WeightSpread, .10)
		atMost(t, s.Name()+": pushes", float64(r.WeightPushes), 10)
	}
}

func TestRunsRepeat(t *testing.T) {
	s := Setting{Load: .75, Replicas: 3, Mixed: true, Fault: Churn, Sticky: true, Measure: time.Second, Seed: 5}
	traces := [2]Trace{NewTrace(s), NewTrace(s)}
	for _, policy := range Policies() {
		var results [2]Result
		for i := range results {
			r, err := Run(s, traces[i], policy)
			if err != nil {
				t.Fatal(err)
			}
			results[i] = r
		}
		if !reflect.DeepEqual(results[0], results[1]) {
			t.Errorf("%s: two runs with one seed differ: %+v, %+v", policy, results[0], results[1])
		}
	}
}

// The ideal of equal pods is an M/G/c queue: at one slot its mean wait is known
// (Pollaczek-Khinchine). And no policy beats it.
func TestTheIdealIsAQueueAndTheBest(t *testing.T) {
	s := Setting{Load: .5, Pods: 1, Slots: 1, Calm: true, Measure: 400 * time.Second, Seed: 1}.withDefaults()
	var sum float64
	r := Ideal(s, NewTrace(s))
	for _, took := range r.times {
		sum += took.Seconds()
	}
	got := sum / float64(len(r.times))
	want := .010 + .5*.010*(1+.25)/(2*.5) // work + load × work × (1 + cv²) / (2 (1 - load))
	if math.Abs(got-want) > .05*want {
		t.Errorf("mean response time %.5f s, theory says %.5f", got, want)
	}
	rs := compare(t, Setting{Load: .75, Measure: 10 * time.Second, Calm: true}, Policies()...)
	for policy := range rs {
		if p99(rs, policy) < 0.999 {
			t.Errorf("%s beats the ideal: %.4f", policy, p99(rs, policy))
		}
	}
}

func TestTraceHasTheLoadItSays(t *testing.T) {
	for _, sticky := range []bool{false, true} {
		s := Setting{Load: .75, Sticky: sticky, Measure: 40 * time.Second, Seed: 3}.withDefaults()
		var work time.Duration
		sessions := map[int]bool{}
		last := time.Duration(0)
		trace := NewTrace(s)
		for _, r := range trace {
			if r.At < last {
				t.Fatal("the trace is not in order of time")
			}
			last = r.At
			work += r.Work
			sessions[r.Session] = true
		}
		got := work.Seconds() / s.end().Seconds() / float64(s.Pods*s.Slots)
		if math.Abs(got-.75) > .03 {
			t.Errorf("sticky %v: load %.3f, want .75", sticky, got)
		}
		if perSession := float64(len(trace)) / float64(len(sessions)); sticky && (perSession < 8 || perSession > 14) {
			t.Errorf("%.1f requests a session, want about 11", perSession)
		}
	}
}

func TestChurnMovesOnlyTheLeaversSessions(t *testing.T) {
	rs := compare(t, Setting{Load: .60, Sticky: true, Fault: Churn}, "home_hcl", "round_robin")
	for _, policy := range []string{"home_hcl", "round_robin"} {
		if b := rs[policy].Broken; b == 0 || b > .02 {
			t.Errorf("%s: %.4f of the sessions moved, want a few", policy, b)
		}
	}
	if b := compare(t, Setting{Load: .60, Sticky: true, Measure: 5 * time.Second}, "home_hcl")["home_hcl"].Broken; b != 0 {
		t.Errorf("%.4f of the sessions moved without a fault", b)
	}
}

func TestUnknownPolicy(t *testing.T) {
	if _, err := Run(Setting{Load: .5, Measure: time.Second}, nil, "magic"); err == nil {
		t.Error("no error")
	}
}

func TestReports(t *testing.T) {
	var comparisons []Comparison
	for _, sticky := range []bool{false, true} {
		for _, load := range []float64{.6, .9} {
			c, err := Compare(Setting{Load: load, Mixed: true, Sticky: sticky, Measure: 2 * time.Second}, []string{"round_robin", "home_hcl"}, 2)
			if err != nil {
				t.Fatal(err)
			}
			comparisons = append(comparisons, c)
		}
	}
	var table, sheet, plot bytes.Buffer
	for _, err := range []error{WriteTable(&table, comparisons), WriteCSV(&sheet, comparisons), WritePlot(&plot, comparisons)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(table.String(), "| home_hcl |"); got != len(comparisons) {
		t.Errorf("the table has %d rows of home_hcl, want %d", got, len(comparisons))
	}
	rows, err := csv.NewReader(&sheet).ReadAll()
	if err != nil || len(rows) != 1+3*len(comparisons) {
		t.Errorf("the CSV has %d rows (%v), want %d", len(rows), err, 1+3*len(comparisons))
	}
	var svg struct {
		Lines []struct {
			Points string `xml:"points,attr"`
		} `xml:"polyline"`
	}
	if err := xml.Unmarshal(plot.Bytes(), &svg); err != nil || len(svg.Lines) != 4 {
		t.Fatalf("the plot has %d lines (%v), want 4", len(svg.Lines), err)
	}
	for _, l := range svg.Lines {
		if strings.Contains(l.Points, "NaN") || len(strings.Fields(l.Points)) != 2 {
			t.Errorf("a line of the plot has points %q", l.Points)
		}
	}
}

func TestSuiteHasEverySettingOfTheTable(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Suite() {
		if seen[s.Name()] {
			t.Errorf("%s comes twice", s.Name())
		}
		seen[s.Name()] = true
	}
	if len(seen) != 44 {
		t.Errorf("%d settings, want 44", len(seen))
	}
}
