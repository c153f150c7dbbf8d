package analysis

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const interval = 5 * time.Second

// cluster makes up the samples of a service "chat" with its pods.
type cluster struct {
	t        *testing.T
	random   *rand.Rand
	analyzer *Analyzer
	now      time.Time
	pods     map[string]*simulatedPod
	sessions float64 // share of the requests that start a session
	table    TableSample
	evicted  float64 // share of the other requests whose binding was evicted
	memory   uint64
	events   []Event
}

type simulatedPod struct {
	rate     float64 // requests per second
	response float64 // median, seconds
	errors   float64 // probability
	bound    int64
}

func newCluster(t *testing.T, o AnalyzerOptions, pods ...string) *cluster {
	t.Helper()
	a, err := NewAnalyzer(o)
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{
		t: t, random: rand.New(rand.NewPCG(7, 11)), analyzer: a, now: noon,
		pods: map[string]*simulatedPod{}, sessions: .02, memory: 300 << 20,
		table: TableSample{Capacity: 10_000},
	}
	for _, name := range pods {
		c.pods[name] = &simulatedPod{rate: 40, response: .05, errors: .01}
	}
	return c
}

// run lets n intervals pass and returns what they opened and resolved.
func (c *cluster) run(n int) []Event {
	var events []Event
	for range n {
		c.now = c.now.Add(interval)
		events = append(events, c.analyzer.Observe(c.now, c.sample())...)
	}
	c.events = append(c.events, events...)
	return events
}

func (c *cluster) sample() Sample {
	service := ServiceSample{Pods: map[string]PodSample{}}
	c.table.Evictions = 0
	names := make([]string, 0, len(c.pods))
	for name := range c.pods {
		names = append(names, name)
	}
	slices.Sort(names) // so that the run is the same each time
	for _, name := range names {
		pod := c.pods[name]
		out := PodSample{InFlight: int64(pod.rate * pod.response)}
		for range c.poisson(pod.rate * interval.Seconds()) {
			out.Requests++
			if c.random.Float64() < pod.errors {
				out.Errors++
			}
			out.ResponseTimes.Add(time.Duration(pod.response * math.Exp(c.random.NormFloat64()*.8) * 1e9))
			c.lookUp(&service, pod)
		}
		out.Sessions = pod.bound
		service.Pods[name] = out
	}
	return Sample{
		Services:  map[string]ServiceSample{"chat": service},
		Processes: map[string]ProcessSample{"extproc": {Memory: c.memory, MemoryLimit: 1 << 30, CPU: .3, CPULimit: 2}},
		Table:     c.table,
	}
}

// lookUp counts one request's look-up and what it does to the table.
func (c *cluster) lookUp(service *ServiceSample, pod *simulatedPod) {
	first := c.table.Size < 200 || c.random.Float64() < c.sessions
	if !first && c.random.Float64() >= c.evicted {
		service.Hits++
		return
	}
	service.Misses++
	if c.table.Size < c.table.Capacity {
		c.table.Size++
		pod.bound++
	} else {
		c.table.Evictions++
	}
}

func (c *cluster) poisson(mean float64) int {
	n, p, limit := 0, c.random.Float64(), math.Exp(-mean)
	if mean > 500 {
		return int(mean)
	}
	for p > limit {
		n++
		p *= c.random.Float64()
	}
	return n
}

// factors are those of the pods whose weight is lowered.
func (c *cluster) factors() map[string]float64 {
	out := map[string]float64{}
	for pod := range c.pods {
		if f := c.analyzer.WeightFactor("chat", pod); f != 1 {
			out[pod] = f
		}
	}
	return out
}

// expectOnly checks that exactly one issue opened, and returns it.
func (c *cluster) expectOnly(events []Event, rule, subject string) Event {
	c.t.Helper()
	if len(events) != 1 || events[0].Resolved || events[0].Rule != rule || events[0].Subject() != subject {
		c.t.Fatalf("events %+v, want only %q of %s opening", events, rule, subject)
	}
	return events[0]
}

func (c *cluster) expectResolved(rule string) {
	c.t.Helper()
	events := c.run(2 * resolveAfter)
	if len(events) != 1 || !events[0].Resolved || events[0].Rule != rule {
		c.t.Fatalf("events %+v after the fault, want only %q resolved", events, rule)
	}
	if r := c.analyzer.Report(c.now, ""); len(r.Issues) != 0 {
		c.t.Fatalf("open after the fault: %+v", r.Issues)
	}
}

func TestHealthyHourOpensNothing(t *testing.T) {
	for seed := range uint64(5) {
		c := newCluster(t, AnalyzerOptions{Historical: true}, "chat-0", "chat-1", "chat-2")
		c.random = rand.New(rand.NewPCG(seed, 1))
		c.pods["chat-2"].rate = .3 // a quiet one too: few requests must not look like a fault
		if events := c.run(720); len(events) != 0 {
			t.Errorf("seed %d: a healthy hour opened %+v", seed, events)
		}
		r := c.analyzer.Report(c.now, "")
		if len(r.Issues) != 0 || !strings.HasPrefix(r.Summary, "No issues") {
			t.Errorf("seed %d: report %+v", seed, r)
		}
	}
}

func TestSlowPodIsNamedAndComparedWithItsPeers(t *testing.T) {
	c := newCluster(t, AnalyzerOptions{}, "chat-0", "chat-1", "chat-2")
	c.run(20)
	c.pods["chat-2"].response, c.pods["chat-2"].rate = 1.8, 3
	e := c.expectOnly(c.run(2), HighResponseTime, "pod chat-2")
	if e.Severity != Medium || e.Threshold != 1 || e.Value < 1 {
		t.Errorf("issue %+v", e.Issue)
	}
	r := c.analyzer.Report(c.now, "chat")
	for _, want := range []string{"Pod chat-2 answers in ", " s, its peers in ", " ms: drain it with `routectl pods drain chat chat-2 --wait`"} {
		if !strings.Contains(r.Suggestions[0].Suggestion, want) {
			t.Errorf("suggestion %q does not say %q", r.Suggestions[0].Suggestion, want)
		}
	}
	factors := c.factors()
	if len(factors) != 1 || factors["chat-2"] != leastFactor {
		t.Errorf("factors %v", factors)
	}
	if !strings.Contains(r.Issues[0].Message, "its weight is lowered to 10 %") {
		t.Errorf("the report does not say that the weight is lowered: %q", r.Issues[0].Message)
	}
	if events := c.run(30); len(events) != 0 {
		t.Errorf("a persisting issue made events %+v", events)
	}
	c.pods["chat-2"].response, c.pods["chat-2"].rate = .05, 40
	c.expectResolved(HighResponseTime)
	if factors := c.factors(); len(factors) != 0 {
		t.Errorf("factors after the fault: %v", factors)
	}
}

func TestFailingPodIsNamed(t *testing.T) {
	for _, share := range []float64{1, .3} {
		c := newCluster(t, AnalyzerOptions{}, "chat-0", "chat-1", "chat-2")
		c.run(20)
		c.pods["chat-1"].errors = share
		e := c.expectOnly(c.run(2), HighErrorRate, "pod chat-1")
		if e.Severity != High || !strings.Contains(e.Message, "requests (") || !strings.Contains(e.Message, "its peers ") {
			t.Errorf("issue %+v", e.Issue)
		}
		f := c.factors()
		if len(f) != 1 || math.Abs(f["chat-1"]-max(leastFactor, 1-share)) > .1 {
			t.Errorf("at %v errors: factors %v", share, f)
		}
		c.pods["chat-1"].errors = 0
		c.expectResolved(HighErrorRate)
	}
}

func TestErrorsJustPastTheThresholdOpenOnceAndStay(t *testing.T) {
	c := newCluster(t, AnalyzerOptions{}, "chat-0", "chat-1", "chat-2")
	c.pods["chat-1"].errors = .09
	if events := c.run(60); len(events) != 1 || events[0].Resolved || events[0].Pod != "chat-1" {
		t.Errorf("9 %% errors for five minutes: events %+v", events)
	}
}

func TestErrorRateAtTheThresholdIsAnIssue(t *testing.T) {
	a, err := NewAnalyzer(AnalyzerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pods := map[string]PodSample{"chat-0": {Requests: 1000, Errors: 50}}
	events := a.Observe(noon, Sample{Services: map[string]ServiceSample{"chat": {Pods: pods}}})
	if len(events) != 1 || events[0].Rule != HighErrorRate {
		t.Errorf("50 of 1,000 requests failed: events %+v", events)
	}
	pods["chat-0"] = PodSample{Requests: 1000, Errors: 49}
	if events := a.Observe(noon.Add(interval), Sample{Services: map[string]ServiceSample{"chat": {Pods: pods}}}); len(events) != 0 {
		t.Errorf("49 of 1,000 requests failed: events %+v", events)
	}
}

func TestCacheTooSmallNamesTheSetting(t *testing.T) {
	c := newCluster(t, AnalyzerOptions{}, "chat-0", "chat-1")
	c.table.Capacity = 250
	c.run(20)
	c.evicted = .6
	e := c.expectOnly(c.run(2), LowCacheHitRate, "service chat")
	if e.Severity != Medium {
		t.Errorf("severity %v", e.Severity)
	}
	s := c.analyzer.Report(c.now, "").Suggestions[0].Suggestion
	if !strings.Contains(s, "Raise `affinity.capacity` from 250 to ") || !strings.Contains(s, "bindings were evicted in 5s") {
		t.Errorf("suggestion %q", s)
	}
	c.evicted = 0
	c.expectResolved(LowCacheHitRate)
}

func TestMissesWithoutEvictionsPointAtTheClients(t *testing.T) {
	c := newCluster(t, AnalyzerOptions{}, "chat-0", "chat-1")
	c.run(5)
	c.table.Capacity = 1 << 30
	c.sessions = .7
	if events := c.run(5); len(events) != 0 {
		t.Fatalf("new sessions in a growing table opened %+v", events)
	}
	a, err := NewAnalyzer(AnalyzerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a.Observe(noon, Sample{Services: map[string]ServiceSample{"chat": {Hits: 100, Misses: 400}}})
	s := a.Report(noon, "").Suggestions
	if len(s) != 1 || !strings.Contains(s[0].Suggestion, "`session.key`") {
		t.Errorf("suggestions %+v", s)
	}
}

func TestMemoryNearItsLimitNamesTheProcess(t *testing.T) {
	c := newCluster(t, AnalyzerOptions{}, "chat-0")
	c.run(5)
	c.memory = 950 << 20
	e := c.expectOnly(c.run(2), HighMemoryUsage, "process extproc")
	if e.Severity != High || !strings.Contains(e.Message, "950 MiB of 1024 MiB") {
		t.Errorf("issue %+v", e.Issue)
	}
	if s := c.analyzer.Report(c.now, "").Suggestions[0].Suggestion; !strings.Contains(s, "from 1024 MiB to 1280 MiB") {
		t.Errorf("suggestion %q", s)
	}
	if r := c.analyzer.Report(c.now, "chat"); len(r.Issues) != 0 {
		t.Errorf("the service's report holds the process's issue: %+v", r.Issues)
	}
	c.memory = 300 << 20
	c.expectResolved(HighMemoryUsage)
}

func TestWhenMostPodsAreBadTheServiceIsBlamedAndNoWeightLowered(t *testing.T) {
	c := newCluster(t, AnalyzerOptions{}, "chat-0", "chat-1", "chat-2")
	c.run(20)
	for _, pod := range c.pods {
		pod.response = 2
	}
	e := c.expectOnly(c.run(1), HighResponseTime, "service chat")
	if f := c.factors(); len(f) != 0 {
		t.Errorf("factors %v although no pod is better", f)
	}
	if s := c.analyzer.Report(c.now, "").Suggestions[0].Suggestion; !strings.Contains(s, "`balancing.max_connections: ") {
		t.Errorf("suggestion %q for %+v", s, e)
	}
}

func TestOneSlowRequestIsNoSlowPod(t *testing.T) {
	c := newCluster(t, AnalyzerOptions{}, "chat-0", "chat-1")
	c.run(5)
	s := c.sample()
	pod := s.Services["chat"].Pods["chat-0"]
	pod.ResponseTimes.Add(20 * time.Minute)
	s.Services["chat"].Pods["chat-0"] = pod
	if events := c.analyzer.Observe(c.now.Add(interval), s); len(events) != 0 {
		t.Errorf("one long request opened %+v", events)
	}
}

func TestIssueOfAPodThatIsGoneIsResolved(t *testing.T) {
	c := newCluster(t, AnalyzerOptions{History: 20}, "chat-0", "chat-1", "chat-2")
	c.run(20)
	c.pods["chat-1"].errors = 1
	c.expectOnly(c.run(1), HighErrorRate, "pod chat-1")
	delete(c.pods, "chat-1")
	c.expectResolved(HighErrorRate)
	if _, listed := c.analyzer.Report(c.now, "").Statistics.Services["chat"].Pods["chat-1"]; !listed {
		t.Error("the pod left the statistics before its history ended")
	}
	c.run(21)
	if n := len(c.analyzer.services["chat"].pods); n != 2 {
		t.Errorf("%d pods remembered a whole history later, want 2", n)
	}
}

func TestForHoldsAnIssueBack(t *testing.T) {
	busy := Rule{Name: "Busy", Metric: RequestRate, Compare: Above, Threshold: 100, For: 3 * interval, Severity: Critical, Suggestion: "Add a pod", Priority: 99}
	c := newCluster(t, AnalyzerOptions{Rules: []Rule{busy}}, "chat-0")
	c.run(5)
	c.pods["chat-0"].rate = 300
	if events := c.run(3); len(events) != 0 {
		t.Fatalf("opened before its time: %+v", events)
	}
	c.pods["chat-0"].rate = 40
	c.run(1)
	c.pods["chat-0"].rate = 300
	if events := c.run(3); len(events) != 0 {
		t.Fatalf("the pause did not start the wait anew: %+v", events)
	}
	e := c.expectOnly(c.run(1), "Busy", "pod chat-0")
	if want := c.now.Add(-3 * interval); !e.Since.Equal(want) {
		t.Errorf("since %v, want %v", e.Since, want)
	}
	s := c.analyzer.Report(c.now, "").Suggestions[0].Suggestion
	if !strings.HasPrefix(s, "Add a pod (pod chat-0: request_rate is 300/s, which is above 100/s)") {
		t.Errorf("suggestion %q", s)
	}
}

func TestAFigureNearItsThresholdDoesNotFlap(t *testing.T) {
	c := newCluster(t, AnalyzerOptions{}, "chat-0")
	for i := range 40 {
		c.memory = 930 << 20
		if i%3 == 0 {
			c.memory = 910 << 20
		}
		c.run(1)
	}
	if len(c.events) != 1 {
		t.Errorf("events %+v, want one", c.events)
	}
}

func TestSuggestionsAreSortedByPriority(t *testing.T) {
	c := newCluster(t, AnalyzerOptions{}, "chat-0", "chat-1", "chat-2")
	c.run(5)
	c.pods["chat-0"].response = 3
	c.pods["chat-1"].errors = .5
	c.memory = 1000 << 20
	c.run(2)
	r := c.analyzer.Report(c.now, "")
	var priorities []int
	for _, s := range r.Suggestions {
		priorities = append(priorities, s.Priority)
	}
	if !slices.Equal(priorities, []int{90, 80, 60}) {
		t.Errorf("priorities %v", priorities)
	}
	if !strings.HasPrefix(r.Summary, "3 issues in all services (2 high, 1 medium), 3 suggestions") {
		t.Errorf("summary %q", r.Summary)
	}
}

func TestRulesFromGo(t *testing.T) {
	crowded := Rule{
		Name: "Crowded Pod", Compare: Above, Threshold: 50, Severity: High,
		Measure: func(w *Window) (float64, bool) { return float64(w.Sessions), w.Pod != "" },
	}
	a, err := NewAnalyzer(AnalyzerOptions{Rules: []Rule{crowded}})
	if err != nil {
		t.Fatal(err)
	}
	events := a.Observe(noon, Sample{Services: map[string]ServiceSample{"chat": {Pods: map[string]PodSample{
		"chat-0": {Sessions: 51}, "chat-1": {Sessions: 50},
	}}}})
	if len(events) != 1 || events[0].Pod != "chat-0" || events[0].Value != 51 {
		t.Errorf("events %+v", events)
	}
}

func TestRulesAreChecked(t *testing.T) {
	good := Rule{Name: "X", Metric: CPUUsage, Compare: Above, Threshold: .9}
	for name, rules := range map[string][]Rule{
		"no name":        {{Metric: CPUUsage}},
		"unknown metric": {{Name: "X", Metric: "luck"}},
		"bad severity":   {{Name: "X", Metric: CPUUsage, Severity: 9}},
		"same name":      {good, good},
	} {
		if _, err := NewAnalyzer(AnalyzerOptions{Rules: rules}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	a, err := NewAnalyzer(AnalyzerOptions{Rules: []Rule{good, {Name: HighErrorRate, Metric: ErrorRate, Compare: AtLeast, Threshold: .5}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(a.rules) != 6 {
		t.Errorf("%d rules, want the five built-in ones, one of them replaced, and one more", len(a.rules))
	}
	if _, err := NewAnalyzer(AnalyzerOptions{History: -1}); err == nil {
		t.Error("a negative history was accepted")
	}
}

func TestNoMetricsYetIsAClearState(t *testing.T) {
	a, err := NewAnalyzer(AnalyzerOptions{Historical: true})
	if err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		text, err := json.Marshal(a.Report(noon, ""))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`"issues":[]`, `"suggestions":[]`, `"changes":[]`, `"summary":"No metrics yet: no request of all services has been observed."`} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s not in %s", want, text)
			}
		}
	}
	check()
	a.Observe(noon, Sample{Services: map[string]ServiceSample{"chat": {Pods: map[string]PodSample{"chat-0": {}}}}})
	check()
}

func TestReportJSONHasTheShapeOfTheContract(t *testing.T) {
	c := newCluster(t, AnalyzerOptions{}, "chat-0", "chat-1", "chat-2")
	c.pods["chat-1"].errors = 1
	c.run(3)
	text, err := json.Marshal(c.analyzer.Report(c.now, ""))
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	issue := got["issues"].([]any)[0].(map[string]any)
	suggestion := got["suggestions"].([]any)[0].(map[string]any)
	for _, key := range []string{"rule", "severity", "service", "pod", "message", "since", "value", "threshold"} {
		if _, ok := issue[key]; !ok {
			t.Errorf("an issue has no %q", key)
		}
	}
	for _, key := range []string{"rule", "service", "pod", "suggestion", "impact", "effort", "priority"} {
		if _, ok := suggestion[key]; !ok {
			t.Errorf("a suggestion has no %q", key)
		}
	}
	if issue["severity"] != "high" || issue["pod"] != "chat-1" || got["time"] != "2026-03-01T12:00:15Z" {
		t.Errorf("issue %v at %v", issue, got["time"])
	}
	if s := got["statistics"].(map[string]any); s["period_seconds"] != 15.0 || s["samples"] != 3.0 {
		t.Errorf("statistics %v", s)
	}
}
