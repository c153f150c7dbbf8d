package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/insight/metrics"
	"github.com/stateful-route/stateful-route/xds/load"
	"github.com/stateful-route/stateful-route/xds/state"
)

func newTestAnalysis(t *testing.T, strategy string) *analyzing {
	t.Helper()
	traits, _ := balancing.NewRegistry().Traits(strategy)
	policy := statefulroute.BalancingPolicy{Strategy: strategy, FixedWeights: traits.FixedWeights}
	chat := &state.ServiceView{Service: statefulroute.Service{Name: "chat", Balancing: policy}}
	for _, name := range []string{"chat-0", "chat-1", "chat-2"} {
		chat.Members = append(chat.Members, state.Member{Pod: statefulroute.Pod{Name: name}})
	}
	model := func() state.Model { return state.Model{Services: []*state.ServiceView{chat}} }
	a, err := newAnalysis(config.Analyzer{Interval: time.Second, History: 60}, nil, model, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// observed is one step of the loop after a second's load reports.
func (a *analyzing) observed(now time.Time, taken load.Taken) analysis.Report {
	a.observe(taken)
	return a.sampled(now)
}

func (a *analyzing) sampled(now time.Time) analysis.Report {
	a.analyzer.Observe(now, a.collect(now))
	a.learn()
	return a.analyzer.Report(now, "")
}

// failures is a second in which so many of 100 requests of chat-1 failed.
func failures(n uint64) load.Taken {
	window := func(pod string, failed uint64) load.Window {
		return load.Window{Service: "chat", Pod: pod, Succeeded: 100 - failed, Failed: failed}
	}
	return load.Taken{Windows: []load.Window{window("chat-0", 0), window("chat-1", n), window("chat-2", 0)}}
}

func TestRoundRobinsKeepTheirWeightsAndTheReportClaimsNothingElse(t *testing.T) {
	a := newTestAnalysis(t, "weighted_round_robin")
	report := a.observed(time.Unix(1000, 0), failures(60))
	if got := a.penalty("chat", "chat-1"); got != 1 {
		t.Errorf("it keeps %v of its weight, want all", got)
	}
	if len(report.Issues) != 1 || strings.Contains(report.Issues[0].Message, "lowered") {
		t.Errorf("issues: %+v", report.Issues)
	}
}

func TestAFindingLowersThePodsWeightAndTheReportSaysSo(t *testing.T) {
	a, now := newTestAnalysis(t, "home_hcl"), time.Unix(1000, 0)
	report := a.observed(now, failures(60))
	if got := a.penalty("chat", "chat-1"); got != .4 {
		t.Errorf("the pod that serves 40 %% of its requests keeps %v of its weight, want 0.4", got)
	}
	if got := a.penalty("chat", "chat-0"); got != 1 {
		t.Errorf("a good pod keeps %v of its weight, want all", got)
	}
	if len(report.Issues) != 1 || !strings.Contains(report.Issues[0].Message, "its weight is lowered to 40 %") {
		t.Errorf("the report does not say so: %+v", report.Issues)
	}
	for range 4 {
		now = now.Add(time.Second)
		report = a.observed(now, failures(0))
	}
	if got := a.penalty("chat", "chat-1"); got != 1 || len(report.Issues) > 0 {
		t.Errorf("after the fault it keeps %v of its weight, with the issues %v", got, report.Issues)
	}
}

// The analyzer may sample more often than extprocs report.
func TestAReplicaThatSaysNothingNewIsNotGone(t *testing.T) {
	a, now := newTestAnalysis(t, "home_hcl"), time.Unix(1000, 0)
	full := map[string]load.Replica{"extproc/a#1": {Memory: 95, MemoryLimit: 100, Size: 5, Capacity: 10, Evictions: 3}}
	a.observed(now, load.Taken{Replicas: full})
	for range 5 {
		now = now.Add(100 * time.Millisecond)
		if report := a.sampled(now); len(report.Issues) != 1 || report.Issues[0].Process != "extproc/a#1" {
			t.Fatalf("issues: %+v", report.Issues)
		}
	}
	if s := a.collect(now); s.Table != (analysis.TableSample{Size: 5, Capacity: 10, Replicas: 1}) {
		t.Errorf("table: %+v, its evictions counted again or its size lost", s.Table)
	}
	for range 3 {
		now = now.Add(100 * time.Millisecond)
		a.observed(now, load.Taken{Replicas: map[string]load.Replica{}})
	}
	if report := a.analyzer.Report(now, ""); len(report.Issues) != 0 {
		t.Errorf("a replica that went away still has issues: %+v", report.Issues)
	}
}

// Pods with generated names, as a deployment of many versions leaves them: what
// is served is about those that are there, and they never share one name.
func TestMetricsFollowThePods(t *testing.T) {
	monitor, err := metrics.NewMonitor(metrics.MonitorOptions{Process: "xds-server"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 201 {
		pod := fmt.Sprintf("chat-%d", i)
		chat := &state.ServiceView{
			Service: statefulroute.Service{Name: "chat"},
			Members: []state.Member{{Pod: statefulroute.Pod{Name: pod}, EffectiveWeight: 70}},
		}
		gone := &state.ServiceView{Service: statefulroute.Service{Name: fmt.Sprintf("version-%d", i)}, Members: chat.Members}
		showWeights(monitor, []*state.ServiceView{chat, gone})
		_, done := probes{monitor, nil, newFlaps()}.Probe(t.Context(), "chat", pod)
		done(nil, time.Millisecond)
		showWeights(monitor, []*state.ServiceView{chat})
	}
	values, err := monitor.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"stateful_route_pod_weight", "stateful_route_health_check_total"} {
		if name += `{pod="chat-200",service="chat"}`; values[name] == 0 {
			t.Errorf("%s is not served", name)
		}
	}
	for name := range values {
		if strings.Contains(name, "service=") && !strings.Contains(name, `service="chat"`) ||
			strings.Contains(name, "pod=") && !strings.Contains(name, `pod="chat-200"`) {
			t.Errorf("%s is served", name)
		}
	}
}

func TestASampleSaysInWhatStatePodsAre(t *testing.T) {
	a := newTestAnalysis(t, "home_hcl")
	chat := a.model().Services[0]
	chat.Members[1].State = statefulroute.Draining
	a.observe(failures(3))
	pods := a.collect(time.Unix(1000, 0)).Services["chat"].Pods
	if pods["chat-1"].State != statefulroute.Draining || pods["chat-1"].Errors != 3 || pods["chat-0"].State != statefulroute.Ready {
		t.Errorf("pods: %+v", pods)
	}
}

// A pod that passes and fails its health checks in turn is named, and no more when
// it has been well for a while.
func TestAFlappingPodIsNamed(t *testing.T) {
	a, now := newTestAnalysis(t, "round_robin"), time.Unix(1000, 0)
	probe := func(healthy bool) analysis.Report {
		now = now.Add(time.Second)
		for _, pod := range []string{"chat-0", "chat-1", "gone"} {
			a.flaps.probed(now, "chat", pod, healthy || pod == "chat-0")
		}
		return a.sampled(now)
	}
	for i := range 3 {
		if got := probe(true).Issues; len(got) != 0 {
			t.Fatalf("after %d failures: %+v", i, got)
		}
		probe(false)
	}
	report := probe(false)
	if len(report.Issues) != 1 || report.Issues[0].Rule != analysis.FlappingPod || report.Issues[0].Pod != "chat-1" || report.Issues[0].Value != 3 {
		t.Fatalf("issues: %+v", report.Issues)
	}
	if got := report.Suggestions; len(got) != 1 || !strings.Contains(got[0].Suggestion, "chat-1 began to fail its health checks 3 times within a minute") {
		t.Errorf("suggestions: %+v", got)
	}
	for range 70 {
		report = probe(true)
	}
	if len(report.Issues) != 0 || len(a.flaps.pods) != 0 {
		t.Errorf("a minute later: %+v, %d pods are remembered", report.Issues, len(a.flaps.pods))
	}
}
