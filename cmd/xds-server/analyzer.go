package main

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/insight"
	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/insight/metrics"
	"github.com/stateful-route/stateful-route/insight/tracing"
	"github.com/stateful-route/stateful-route/internal/procstat"
	"github.com/stateful-route/stateful-route/xds/state"
)

// analyzer is the analyzer with what it is fed from.
type analyzer struct {
	*analysis.Analyzer
	collector *analysis.Collector
	process   *procstat.Reader
	model     func() state.Model
	log       *zap.Logger
}

func newAnalyzer(cfg config.Analyzer, own []analysis.Rule, model func() state.Model, log *zap.Logger) (*analyzer, error) {
	a, err := analysis.NewAnalyzer(analysis.AnalyzerOptions{
		Interval: cfg.Interval, History: cfg.History, Historical: cfg.Historical, Rules: slices.Concat(own, cfg.Rules),
		FollowsLoad: func(service string) bool {
			return slices.ContainsFunc(model().Services, func(svc *state.ServiceView) bool {
				return svc.Name == service && !svc.Balancing.FixedWeights
			})
		},
	})
	if err != nil {
		return nil, err
	}
	return &analyzer{
		Analyzer: a, collector: analysis.NewCollector(), process: procstat.NewReader("/"), model: model, log: log,
	}, nil
}

// loop is the analyzer's real-time loop.
func (a *analyzer) loop(cfg config.Analyzer, monitor *metrics.Monitor) (*insight.Loop, error) {
	o := insight.LoopOptions{Analyzer: a.Analyzer, Collect: a.collect, Interval: cfg.Interval, Monitor: monitor}
	if cfg.RealTime {
		o.Logger = a.log
	}
	return insight.NewLoop(o)
}

// collect returns the sample since the last one, with what this process uses.
func (a *analyzer) collect(now time.Time) analysis.Sample {
	sample := a.collector.Collect(now, podStates(a.model().Services))
	usage, err := a.process.Read(now)
	if err != nil {
		a.log.Debug("own usage not known", zap.Error(err))
		return sample
	}
	sample.Processes["xds-server"] = usage
	return sample
}

func podStates(services []*state.ServiceView) map[string]map[string]statefulroute.PodState {
	return ofPods(services, func(m *state.Member) statefulroute.PodState { return m.State })
}

func podWeights(services []*state.ServiceView) map[string]map[string]uint32 {
	return ofPods(services, func(m *state.Member) uint32 { return m.EffectiveWeight })
}

// ofPods is one fact of every pod, by service and name.
func ofPods[T any](services []*state.ServiceView, fact func(*state.Member) T) map[string]map[string]T {
	out := make(map[string]map[string]T, len(services))
	for _, svc := range services {
		pods := make(map[string]T, len(svc.Members))
		for i := range svc.Members {
			pods[svc.Members[i].Name] = fact(&svc.Members[i])
		}
		out[svc.Name] = pods
	}
	return out
}

// probes counts and traces the health checks.
type probes struct {
	monitor   *metrics.Monitor
	tracer    *tracing.Tracer
	collector *analysis.Collector
}

// Probe begins one health check.
func (p probes) Probe(ctx context.Context, service, pod string) (context.Context, func(error, time.Duration)) {
	ctx, span := p.tracer.HealthCheck(ctx, service, pod)
	return ctx, func(err error, took time.Duration) {
		p.monitor.Service(service).HealthCheck(pod, took, err == nil)
		p.collector.Probed(time.Now(), service, pod, err == nil)
		span.End(err == nil, err)
	}
}
