package main

import (
	"errors"
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

func newTestAnalyzer(t *testing.T, strategy string) *analyzer {
	t.Helper()
	traits, _ := balancing.NewRegistry().Traits(strategy)
	policy := statefulroute.BalancingPolicy{Strategy: strategy, FixedWeights: traits.FixedWeights}
	chat := &state.ServiceView{Service: statefulroute.Service{Name: "chat", Balancing: policy}}
	for _, name := range []string{"chat-0", "chat-1", "chat-2"} {
		chat.Members = append(chat.Members, state.Member{Pod: statefulroute.Pod{Name: name}})
	}
	model := func() state.Model { return state.Model{Services: []*state.ServiceView{chat}} }
	a, err := newAnalyzer(config.Analyzer{Interval: time.Second, History: 60}, nil, model, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// observed is one step of the loop after a second's load reports.
func (a *analyzer) observed(now time.Time, taken load.Taken) analysis.Report {
	a.collector.Add(taken.Samples(), taken.Replicas)
	a.Observe(now, a.collect(now))
	return a.Report(now, "")
}

// failures is a second in which so many of 100 requests of chat-1 failed.
func failures(n uint64) load.Taken {
	window := func(pod string, failed uint64) load.Window {
		return load.Window{Service: "chat", Pod: pod, Counts: load.Counts{Succeeded: 100 - failed, Failed: failed}}
	}
	return load.Taken{Windows: []load.Window{window("chat-0", 0), window("chat-1", n), window("chat-2", 0)}}
}

func TestRoundRobinsKeepTheirWeightsAndTheReportClaimsNothingElse(t *testing.T) {
	a := newTestAnalyzer(t, "weighted_round_robin")
	report := a.observed(time.Unix(1000, 0), failures(60))
	if got := a.WeightFactor("chat", "chat-1"); got != 1 {
		t.Errorf("it keeps %v of its weight, want all", got)
	}
	if len(report.Issues) != 1 || strings.Contains(report.Issues[0].Message, "lowered") {
		t.Errorf("issues: %+v", report.Issues)
	}
}

func TestAFindingLowersThePodsWeightAndTheReportSaysSo(t *testing.T) {
	a, now := newTestAnalyzer(t, "home_hcl"), time.Unix(1000, 0)
	report := a.observed(now, failures(60))
	if got := a.WeightFactor("chat", "chat-1"); got != .4 {
		t.Errorf("the pod that serves 40 %% of its requests keeps %v of its weight, want 0.4", got)
	}
	if got := a.WeightFactor("chat", "chat-0"); got != 1 {
		t.Errorf("a good pod keeps %v of its weight, want all", got)
	}
	if len(report.Issues) != 1 || !strings.Contains(report.Issues[0].Message, "its weight is lowered to 40 %") {
		t.Errorf("the report does not say so: %+v", report.Issues)
	}
	for range 4 {
		now = now.Add(time.Second)
		report = a.observed(now, failures(0))
	}
	if got := a.WeightFactor("chat", "chat-1"); got != 1 || len(report.Issues) > 0 {
		t.Errorf("after the fault it keeps %v of its weight, with the issues %v", got, report.Issues)
	}
}

// Pods that were asked nothing are part of a sample, with the state they are in, and
// so are the results of the health checks and this process.
func TestASampleSaysHowPodsAre(t *testing.T) {
	a := newTestAnalyzer(t, "home_hcl")
	monitor, err := metrics.NewMonitor(metrics.MonitorOptions{Process: "xds-server"})
	if err != nil {
		t.Fatal(err)
	}
	_, done := probes{monitor, nil, a.collector}.Probe(t.Context(), "chat", "chat-2")
	done(errors.New("refused"), time.Millisecond)
	a.model().Services[0].Members[1].State = statefulroute.Draining
	taken := failures(3)
	a.collector.Add(taken.Samples(), nil)
	sample := a.collect(time.Now())
	pods := sample.Services["chat"].Pods
	if pods["chat-1"].State != statefulroute.Draining || pods["chat-1"].Errors != 3 || pods["chat-0"].State != statefulroute.Ready || pods["chat-2"].Flaps != 1 {
		t.Errorf("pods: %+v", pods)
	}
	if sample.Processes["xds-server"].MemoryLimit == 0 {
		t.Errorf("processes: %+v", sample.Processes)
	}
}
