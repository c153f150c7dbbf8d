package analysis

import (
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// advised is what a new analyzer says of one sample that breaks one rule.
func advised(t *testing.T, s Sample, rules ...Rule) (Issue, string) {
	t.Helper()
	a, err := NewAnalyzer(AnalyzerOptions{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	a.Observe(noon, s)
	r := a.Report(noon, "")
	if len(r.Issues) != 1 || len(r.Suggestions) != 1 {
		t.Fatalf("issues %+v, suggestions %+v, want one of each", r.Issues, r.Suggestions)
	}
	return r.Issues[0], r.Suggestions[0].Suggestion
}

func expectText(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if not, found := strings.CutPrefix(want, "NOT "); found && strings.Contains(text, not) || !found && !strings.Contains(text, want) {
			t.Errorf("%q: want %q", text, want)
		}
	}
}

func podsOf(pods map[string]PodSample) Sample {
	return Sample{Services: map[string]ServiceSample{"chat": {Pods: pods}}}
}

// answering is a pod's sample with so many requests of one duration.
func answering(n uint64, took time.Duration) PodSample {
	p := PodSample{Requests: n, Sessions: 12}
	for range n {
		p.ResponseTimes.Add(took)
	}
	return p
}

func TestCapacityIsAdvisedPerReplica(t *testing.T) {
	missing := map[string]ServiceSample{"chat": {Hits: 100, Misses: 400}}
	issue, s := advised(t, Sample{Services: missing, Table: TableSample{Size: 200, Capacity: 200, Replicas: 2, Evictions: 400}})
	expectText(t, s, "Raise `affinity.capacity` from 100 to 600 in each of 2 extprocs: 400 bindings were evicted")
	expectText(t, issue.Message, "the tables of 2 extprocs hold 200 of at most 200 bindings")
	_, s = advised(t, Sample{Services: missing, Table: TableSample{Size: 100, Capacity: 100, Replicas: 1, Evictions: 200}})
	expectText(t, s, "Raise `affinity.capacity` from 100 to 600: 200")
}

// A table that only lets expired bindings go evicts none when it is full.
func TestAFullTableThatRefusesIsNotBlamedOnTheClients(t *testing.T) {
	missing := map[string]ServiceSample{"chat": {Hits: 100, Misses: 400}}
	issue, s := advised(t, Sample{Services: missing, Table: TableSample{Size: 99, Capacity: 100, Replicas: 1}})
	expectText(t, s, "Raise `affinity.capacity` from 100 to 400, or choose", "full and refuses", "NOT session.key")
	expectText(t, issue.Message, "99 of at most 100 bindings: it is full")
	_, s = advised(t, Sample{Services: missing, Table: TableSample{Size: 60, Capacity: 100, Replicas: 1}})
	expectText(t, s, "`session.key`", "NOT full")
}

func TestMemoryAdviceNamesASettingOfTheProcess(t *testing.T) {
	for process, want := range map[string][]string{
		"xds-server":   {"`analyzer.history`", "NOT affinity"},
		"extproc/host": {"`affinity.capacity` (70 bindings are held by 2 extprocs)", "NOT analyzer"},
	} {
		_, s := advised(t, Sample{
			Processes: map[string]ProcessSample{process: {Memory: 95 << 20, MemoryLimit: 100 << 20}},
			Table:     TableSample{Size: 70, Capacity: 100, Replicas: 2},
		})
		expectText(t, s, want...)
	}
}

// What is said of weights is what the balancing does with them.
func TestAWeightIsLoweredOnlyBesideBetterPeers(t *testing.T) {
	failing, fine, idle := PodSample{Requests: 100, Errors: 80}, answering(100, 10*time.Millisecond), PodSample{}
	slow := answering(100, 5*time.Second)
	for name, c := range map[string]struct {
		pods    map[string]PodSample
		lowered []string
		says    string
	}{
		"no peer known":  {map[string]PodSample{"chat-0": failing, "chat-1": idle, "chat-2": idle}, nil, "no peer served requests"},
		"one of three":   {map[string]PodSample{"chat-0": failing, "chat-1": fine, "chat-2": fine}, []string{"chat-0"}, "its weight is lowered to 20 %"},
		"two of three":   {map[string]PodSample{"chat-0": failing, "chat-1": slow, "chat-2": fine}, nil, "its weight is kept, for most pods"},
		"two of four":    {map[string]PodSample{"chat-0": failing, "chat-1": slow, "chat-2": fine, "chat-3": fine}, []string{"chat-0", "chat-1"}, "its weight is lowered to"},
		"three of three": {map[string]PodSample{"chat-0": failing, "chat-1": failing, "chat-2": failing}, nil, "service chat failed"},
		"twice of one":   {map[string]PodSample{"chat-0": {Requests: 100, Errors: 80, ResponseTimes: slow.ResponseTimes}, "chat-1": fine}, []string{"chat-0"}, "its weight is lowered to"},
	} {
		a, err := NewAnalyzer(AnalyzerOptions{})
		if err != nil {
			t.Fatal(err)
		}
		events := a.Observe(noon, podsOf(c.pods))
		if len(events) == 0 {
			t.Fatalf("%s: nothing opened", name)
		}
		for _, e := range events {
			if !strings.Contains(e.Message, c.says) || len(c.lowered) == 0 && strings.Contains(e.Message, "lowered") {
				t.Errorf("%s: %q, want %q", name, e.Message, c.says)
			}
		}
		var lowered []string
		for _, pod := range slices.Sorted(maps.Keys(c.pods)) {
			if a.WeightFactor("chat", pod) < 1 {
				lowered = append(lowered, pod)
			}
		}
		if strings.Join(lowered, " ") != strings.Join(c.lowered, " ") {
			t.Errorf("%s: lowered %v, want %v", name, lowered, c.lowered)
		}
	}
}

// A drain leaves bound sessions where they are.
func TestAdviceOnAPodDependsOnItsState(t *testing.T) {
	const drain, out = "`routectl pods drain chat chat-0 --wait`", "`routectl pods maintenance chat chat-0` takes it out at once"
	for _, c := range []struct {
		pod   PodSample
		state statefulroute.PodState
		want  []string
	}{
		{PodSample{Requests: 100, Errors: 80}, statefulroute.Ready, []string{out, "NOT drain"}},
		{PodSample{Requests: 100, Errors: 80}, statefulroute.Draining, []string{out, "NOT drain"}},
		{PodSample{Requests: 100, Errors: 80}, statefulroute.Maintenance, []string{"no new request is sent to it", "NOT routectl"}},
		{answering(100, 5*time.Second), statefulroute.Ready, []string{drain, "12 sessions are bound to it", "NOT maintenance"}},
		{answering(100, 5*time.Second), statefulroute.Draining, []string{"it is draining already", out, "NOT pods drain"}},
		{answering(100, 5*time.Second), statefulroute.Unhealthy, []string{"it is unhealthy already", "NOT routectl"}},
	} {
		c.pod.State = c.state
		fine := answering(100, 10*time.Millisecond)
		_, s := advised(t, podsOf(map[string]PodSample{"chat-0": c.pod, "chat-1": fine, "chat-2": fine}))
		expectText(t, s, c.want...)
	}
}

// command finds the suggested command between backticks, at its end: a name may
// hold some itself.
var command = regexp.MustCompile("(?s)`(routectl pods .*)` ")

func TestASuggestedCommandIsSafeToPaste(t *testing.T) {
	for _, pod := range []string{"chat-0", "my pod", "a;echo b", "it's", "$(id)", "`id`", "-x", "10.0.0.1:80", "é", "*"} {
		fine := answering(100, 10*time.Millisecond)
		_, s := advised(t, podsOf(map[string]PodSample{pod: answering(100, 5*time.Second), "fine-1": fine, "fine-2": fine}))
		found := command.FindStringSubmatch(s)
		if found == nil {
			t.Fatalf("no command in %q", s)
		}
		script := `routectl() { printf '%s\n' "$@"; }; ` + found[1]
		out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput()
		want := "pods\ndrain\nchat\n" + pod + "\n--wait\n"
		if strings.HasPrefix(pod, "-") {
			want = "pods\ndrain\n--wait\n--\nchat\n" + pod + "\n"
		}
		if err != nil || string(out) != want {
			t.Errorf("%s: %v, the shell passes on %q, want %q", found[1], err, out, want)
		}
	}
}

func TestARuleWithoutASuggestionGetsOne(t *testing.T) {
	busy := answering(500, time.Millisecond)
	busy.InFlight = 40
	sample := podsOf(map[string]PodSample{"chat-0": busy})
	sample.Processes = map[string]ProcessSample{"extproc/host": {Memory: 5 << 20, MemoryLimit: 100 << 20, CPU: 1.9, CPULimit: 2}}
	measured := func(w *Window) (float64, bool) { return 7, w.Process != "" }
	for _, c := range []struct {
		rule Rule
		want string
	}{
		{Rule{Metric: RequestRate, Compare: Above, Threshold: 90}, "Pod chat-0 gets 100/s (limit 90/s): add pods to service chat (1 now)"},
		{Rule{Metric: RequestRate, Compare: Below, Threshold: 200}, "`routectl envoys`"},
		{Rule{Metric: ConnectionCount, Compare: Above, Threshold: 30}, "`balancing.max_connections`"},
		{Rule{Metric: CPUUsage, Compare: Above, Threshold: .9}, "Process extproc/host uses 1.9 of 2 cores: give it more, or run another replica"},
		{Rule{Metric: ResponseTime, Compare: Below, Threshold: .01}, `Pod chat-0 broke the rule "mine" at 12:00:00 UTC: look at what changed then, at ` + "`routectl pods chat`"},
		{Rule{Compare: Above, Threshold: 5, Measure: measured}, `Process extproc/host broke the rule "mine" at 12:00:00 UTC`},
	} {
		c.rule.Name, c.rule.Severity = "mine", High
		issue, s := advised(t, sample, c.rule)
		expectText(t, s, c.want)
		if s == issue.Message {
			t.Errorf("the suggestion repeats the message %q", s)
		}
	}
}

func TestARuleThatReplacesABuiltInOneKeepsWhatItDoesNotSay(t *testing.T) {
	a, err := NewAnalyzer(AnalyzerOptions{Rules: []Rule{{Name: HighErrorRate, Metric: ErrorRate, Compare: Above, Threshold: .5, Effort: "none"}}})
	if err != nil {
		t.Fatal(err)
	}
	was, is := BuiltInRules()[0], a.rules[0]
	if is.Threshold != .5 || is.Effort != "none" || is.Impact != was.Impact || is.Priority != was.Priority {
		t.Errorf("%+v", is)
	}
}
