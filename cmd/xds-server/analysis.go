package main

import (
	"context"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/insight"
	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/insight/metrics"
	"github.com/stateful-route/stateful-route/insight/tracing"
	"github.com/stateful-route/stateful-route/internal/procstat"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/load"
	"github.com/stateful-route/stateful-route/xds/state"
)

// analyzing feeds the analyzer with what the load reports say, and balancing
// with what the analyzer finds.
type analyzing struct {
	analyzer *analysis.Analyzer
	process  *procstat.ProcessReader
	model    func() state.Model
	log      *zap.Logger

	mu       sync.Mutex
	pending  analysis.Sample            // since the last collect
	replicas map[string]load.Replica    // as they reported last
	findings map[analysis.Scope]float64 // weight factor by pod

	flaps *flaps
}

func newAnalysis(cfg config.Analyzer, own []analysis.Rule, model func() state.Model, log *zap.Logger) (*analyzing, error) {
	analyzer, err := analysis.NewAnalyzer(analysis.AnalyzerOptions{
		Interval: cfg.Interval, History: cfg.History, Historical: cfg.Historical, Rules: slices.Concat(own, cfg.Rules),
		Steered: func(service string) bool { return steered(model(), service) },
	})
	if err != nil {
		return nil, err
	}
	return &analyzing{
		analyzer: analyzer, process: procstat.NewProcessReader(os.DirFS("/")),
		model: model, log: log, pending: emptySample(), flaps: newFlaps(),
	}, nil
}

// steered reports whether a service's weights follow what is found.
func steered(m state.Model, service string) bool {
	return slices.ContainsFunc(m.Services, func(svc *state.ServiceView) bool {
		return svc.Name == service && !svc.Balancing.FixedWeights
	})
}

func emptySample() analysis.Sample {
	return analysis.Sample{Services: map[string]analysis.ServiceSample{}, Processes: map[string]analysis.ProcessSample{}}
}

// loop is the analyzer's real-time loop.
func (a *analyzing) loop(cfg config.Analyzer, monitor *metrics.Monitor) (*insight.Loop, error) {
	o := insight.LoopOptions{
		Analyzer: a.analyzer, Collect: a.collect, Interval: cfg.Interval, Monitor: monitor,
		After: func(time.Time, []analysis.Event) { a.learn() },
	}
	if cfg.RealTime {
		o.Logger = a.log
	}
	return insight.NewLoop(o)
}

// observe adds a second's load reports to the sample that is being gathered.
func (a *analyzing) observe(taken load.Taken) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range taken.Windows {
		svc := a.serviceLocked(w.Service)
		pod := svc.Pods[w.Pod]
		pod.Requests += w.Succeeded + w.Failed
		pod.Errors += w.Failed
		pod.ResponseTimes.Merge(analysis.BucketedDurations(wire.ResponseTimeBounds(), w.Buckets, w.ResponseTime))
		pod.InFlight, pod.Sessions = w.InFlight, w.Sessions
		svc.Pods[w.Pod] = pod
	}
	for name, c := range taken.Caches {
		svc := a.serviceLocked(name)
		svc.Hits += c.Hits
		svc.Misses += c.Misses
		a.pending.Services[name] = svc
	}
	a.replicas = taken.Replicas
	for _, r := range taken.Replicas {
		a.pending.Table.Evictions += r.Evictions
	}
}

// addReplicasLocked adds what the extprocs said last, which may be longer ago
// than the last sample: one that said nothing since is not gone.
func (a *analyzing) addReplicasLocked(s *analysis.Sample) {
	for name, r := range a.replicas {
		s.Processes[name] = analysis.ProcessSample{Memory: r.Memory, MemoryLimit: r.MemoryLimit, CPU: r.CPU, CPULimit: r.CPULimit}
		s.Table.Size += r.Size
		s.Table.Capacity += r.Capacity
		if r.Capacity > 0 { // it has said what it holds
			s.Table.Replicas++
		}
	}
}

// unwritten says which extprocs cannot write their bindings, as they said last.
func (a *analyzing) unwritten() (out []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(a.replicas)) {
		if a.replicas[name].Unwritten {
			out = append(out, name+": bindings cannot be written, a restart would lose changes: routectl check and its log say why")
		}
	}
	return out
}

func (a *analyzing) serviceLocked(name string) analysis.ServiceSample {
	svc, ok := a.pending.Services[name]
	if !ok {
		svc = analysis.ServiceSample{Pods: map[string]analysis.PodSample{}}
		a.pending.Services[name] = svc
	}
	return svc
}

// collect returns the sample since the last one: every pod there is, those
// that were asked nothing too, and this process.
func (a *analyzing) collect(now time.Time) analysis.Sample {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, svc := range a.model().Services {
		s := a.serviceLocked(svc.Name)
		for _, m := range svc.Members {
			pod := s.Pods[m.Name]
			pod.State = m.State
			s.Pods[m.Name] = pod
		}
	}
	a.flaps.countInto(now, a.model().Services, a.pending.Services)
	a.addReplicasLocked(&a.pending)
	out := a.pending
	a.pending = emptySample()
	if usage, err := a.process.Read(now); err == nil {
		out.Processes["xds-server"] = usage
	} else {
		a.log.Debug("own usage not known", zap.Error(err))
	}
	return out
}

// learn keeps what the open issues mean for the weights.
func (a *analyzing) learn() {
	found := map[analysis.Scope]float64{}
	for _, f := range a.analyzer.Findings() {
		scope := analysis.Scope{Service: f.Service, Pod: f.Pod}
		if have, ok := found[scope]; !ok || f.Factor < have {
			found[scope] = f.Factor
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.findings = found
}

// penalty is the factor by which the analyzer lowers a pod's weight.
func (a *analyzing) penalty(service, pod string) float64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f, ok := a.findings[analysis.Scope{Service: service, Pod: pod}]; ok {
		return f
	}
	return 1
}

// showWeights serves the weights of the pods there are, and nothing any more of
// services and pods that are gone.
func showWeights(monitor *metrics.Monitor, services []*state.ServiceView) {
	names := make([]string, len(services))
	for i, svc := range services {
		names[i] = svc.Name
	}
	monitor.KeepServices(names)
	for _, svc := range services {
		metrics, pods := monitor.Service(svc.Name), make([]string, len(svc.Members))
		for i, m := range svc.Members {
			pods[i] = m.Name
		}
		metrics.KeepPods(pods)
		for _, m := range svc.Members {
			metrics.PodWeight(m.Name, m.EffectiveWeight)
		}
	}
}

// probes counts and traces the health checks.
type probes struct {
	monitor *metrics.Monitor
	tracer  *tracing.Tracer
	flaps   *flaps
}

// Probe begins one health check.
func (p probes) Probe(ctx context.Context, service, pod string) (context.Context, func(error, time.Duration)) {
	ctx, span := p.tracer.HealthCheck(ctx, service, pod)
	return ctx, func(err error, took time.Duration) {
		p.monitor.Service(service).HealthCheck(pod, took, err == nil)
		p.flaps.probed(time.Now(), service, pod, err == nil)
		span.End(err == nil, err)
	}
}
