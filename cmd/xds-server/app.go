package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/stateful-route/stateful-route/adminhttp"
	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/insight/metrics"
	"github.com/stateful-route/stateful-route/insight/tracing"
	"github.com/stateful-route/stateful-route/internal/cli"
	"github.com/stateful-route/stateful-route/internal/extensions"
	"github.com/stateful-route/stateful-route/livepage"
	"github.com/stateful-route/stateful-route/xds"
	"github.com/stateful-route/stateful-route/xds/discovery"
	"github.com/stateful-route/stateful-route/xds/load"
	"github.com/stateful-route/stateful-route/xds/probe"
	"github.com/stateful-route/stateful-route/xds/secret"
	"github.com/stateful-route/stateful-route/xds/state"
)

// app wires the control plane's parts together.
type app struct {
	process  cli.Process
	started  time.Time
	monitor  *metrics.Monitor
	tracer   *tracing.Tracer
	server   *xds.Server
	loads    *load.Store
	sources  *discovery.Manager
	secrets  *secret.Manager
	state    *state.File     // nil: none is configured
	kept     state.Persisted // of the run before
	prober   *probe.Prober
	weights  *load.WeightController
	analyzer *analyzer
	reload   *reloader
	page     *livepage.Page
	ready    atomic.Bool
}

// program is xds-server with what a build adds to it.
func program(known extensions.Set) cli.Program {
	options := known.Config()
	read := func(file string, more ...config.Option) (*config.XDSServer, error) {
		return config.LoadXDSServer(file, slices.Concat(options, more)...)
	}
	return cli.Program{
		Check: func(file string) error {
			_, err := xds.Preview(context.Background(), file, known.Config()...)
			return err
		},
		Run: func(ctx context.Context, p cli.Process) error {
			cfg, err := read(p.ConfigFile)
			if err != nil {
				return err
			}
			a, err := newApp(ctx, p, cfg, known.Rules, read)
			if err != nil {
				return err
			}
			return a.run(ctx, cfg)
		},
	}
}

func newApp(ctx context.Context, p cli.Process, cfg *config.XDSServer, rules []analysis.Rule, read reader) (*app, error) {
	monitor, err := metrics.NewMonitor(metrics.MonitorOptions{Process: "xds-server", Version: p.Version})
	if err != nil {
		return nil, err
	}
	tracer, err := tracing.NewTracer(ctx, tracing.TracerOptions{Process: "xds-server", Version: p.Version})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(monitor.LogLines(p.LogLinesDropped), monitor.Spans(tracer)); err != nil {
		return nil, err
	}
	loads := load.NewStore()
	if err := monitor.LoadReports(loads.Refused); err != nil {
		return nil, err
	}
	state, kept := openState(cfg, p.Logger, monitor)
	server, err := newServer(p, cfg, monitor, state)
	if err != nil {
		return nil, err
	}
	if err := monitor.Register("clients", server.ClientMetrics()); err != nil {
		return nil, err
	}
	found, err := newAnalyzer(cfg.Analyzer, rules, server.Model, p.Logger.Named("analyzer"))
	if err != nil {
		return nil, err
	}
	a := &app{
		process: p, started: time.Now(), monitor: monitor, tracer: tracer, server: server, loads: loads, analyzer: found,
		state: state, kept: kept,
	}
	if a.sources, err = newSources(a); err != nil {
		return nil, err
	}
	if a.secrets, err = newSecrets(a); err != nil {
		return nil, err
	}
	a.reload = &reloader{app: a, read: read}
	if a.page, err = livepage.New(livepage.Options{State: a.liveState, Logger: p.Logger.Named("page")}); err != nil {
		return nil, err
	}
	a.prober = &probe.Prober{
		Logger: p.Logger.Named("health"), Observer: probes{monitor, tracer, found.collector},
		Set: server, Model: server.Model, Changed: server.Changed(),
	}
	a.weights = &load.WeightController{
		Logger: p.Logger.Named("weights"), Loads: a.loads, Set: server, Prober: a.prober, Model: server.Model,
		Penalty: found.WeightFactor, Observe: a.observe,
	}
	return a, nil
}

func newServer(p cli.Process, cfg *config.XDSServer, monitor *metrics.Monitor, state *state.File) (*xds.Server, error) {
	o := xds.Options{Logger: p.Logger.Named("xds"), Observer: monitor, Boot: rand.Text()[:8], Limits: xds.ClientLimits(cfg.Limits)}
	if state != nil {
		o.Overrides = state
	}
	return xds.New(o)
}

func newSources(a *app) (*discovery.Manager, error) {
	s := &discovery.Manager{
		Logger: a.process.Logger.Named("pods"), Set: a.server.SetPods, Kept: a.kept.Pods,
	}
	if a.state != nil {
		s.Keeper = a.state
	}
	return s, a.monitor.PodSources(discovery.States(), s.Summary)
}

func newSecrets(a *app) (*secret.Manager, error) {
	s := &secret.Manager{
		Logger: a.process.Logger.Named("certificates"), Set: a.server.SetSecrets, Reloaded: a.monitor.CertificateReload,
	}
	return s, a.monitor.Certificates(func() (expiry map[string]time.Time, good bool) {
		expiry, good = map[string]time.Time{}, true
		for _, c := range s.Status(time.Now()) {
			good = good && c.Error == ""
			if !c.Expires.IsZero() {
				expiry[c.Files[0]] = c.Expires
			}
		}
		return expiry, good
	})
}

// observe hands a second's load reports to the analyzer, the live page and the
// metrics.
func (a *app) observe(taken load.Taken) {
	weights, samples := podWeights(a.server.Model().Services), taken.Samples()
	a.analyzer.collector.Add(samples, taken.Replicas)
	a.page.Observe(time.Now(), slices.Collect(maps.Keys(weights)), samples)
	a.monitor.PodWeights(weights)
}

// run starts everything and waits until all of it has ended.
func (a *app) run(ctx context.Context, cfg *config.XDSServer) error {
	listener, err := listen(ctx, "listen", cfg.Listen)
	if err != nil {
		return err
	}
	defer listener.Close()
	admin, err := listen(ctx, "admin", cfg.Admin)
	if err != nil {
		return err
	}
	defer admin.Close()
	loop, err := a.analyzer.loop(cfg.Analyzer, a.monitor)
	if err != nil {
		return err
	}

	group, ctx := errgroup.WithContext(ctx)
	if a.state != nil {
		group.Go(func() error { return a.state.Run(ctx) })
	}
	group.Go(func() error { return a.server.Run(ctx) })
	group.Go(func() error { return adminhttp.Serve(ctx, admin, a.handler(), cfg.AdminHosts...) })
	group.Go(func() error { return a.prober.Run(ctx) })
	group.Go(func() error { return a.weights.Run(ctx) })
	group.Go(func() error { return loop.Run(ctx) })
	group.Go(func() error { return a.serve(ctx, cfg, listener) })
	err = group.Wait()
	a.stopTracing(ctx)
	a.process.Logger.Info("stopped")
	return err
}

// serve answers xDS once the first configuration is in force: Envoys that find
// us must find their routes.
func (a *app) serve(ctx context.Context, cfg *config.XDSServer, listener net.Listener) error {
	defer a.sources.Stop()
	defer a.secrets.Stop()
	if err := a.reload.apply(ctx, cfg); err != nil {
		return err
	}
	if err := a.server.Restore(ctx, a.kept.Overrides); err != nil {
		if ctx.Err() != nil {
			return nil // stopped before it began
		}
		a.process.Logger.Error("orders of the last run are lost", zap.Error(err))
	}
	a.ready.Store(true)
	a.process.Logger.Info("serving", zap.String("xds", cfg.Listen), zap.String("admin", cfg.Admin), zap.Int("services", len(cfg.Services)))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { a.reload.run(ctx); return nil })
	group.Go(func() error { return a.secrets.Run(ctx) })
	group.Go(func() error {
		lrs := &load.Server{Loads: a.loads, Pods: func() load.Pods { return a.server.Model() }}
		return a.server.Serve(ctx, listener, lrs.RegisterOn)
	})
	return group.Wait()
}

// openState opens the state file, if there is one, and returns what the run
// before left there.
func openState(cfg *config.XDSServer, log *zap.Logger, monitor *metrics.Monitor) (*state.File, state.Persisted) {
	if cfg.State == "" {
		return nil, state.Persisted{}
	}
	report := func(err error) { monitor.Persistence().Report(metrics.PersistedOrders, err) }
	state, kept, err := state.OpenFile(cfg.State, log.Named("state"), report)
	if err != nil {
		log.Error("orders and pods of the last run are lost", zap.Error(err))
	}
	return state, kept
}

func (a *app) stopTracing(ctx context.Context) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := a.tracer.Shutdown(bounded); err != nil {
		a.process.Logger.Warn("traces not exported", zap.Error(err))
	}
}

func listen(ctx context.Context, what, address string) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return l, nil
}

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	adminhttp.Register(mux, adminhttp.Options{Metrics: a.monitor.Handler(), Degraded: a.unready, Ready: func() error {
		if !a.ready.Load() {
			return errors.New("starting")
		}
		return nil
	}})
	a.admin().Register(mux)
	a.page.Register(mux)
	mux.HandleFunc("GET /api/v1/report", a.report)
	mux.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		adminhttp.WriteJSON(w, http.StatusOK, a.status())
	})
	return mux
}

func (a *app) admin() *xds.Admin {
	return &xds.Admin{Server: a.server, Loads: a.loads, Sources: a.sources}
}

// report is what the analyzer has to say, as JSON or, with ?format=text, as text.
func (a *app) report(w http.ResponseWriter, r *http.Request) {
	service := r.FormValue("service")
	known := func(svc *state.ServiceView) bool { return svc.Name == service }
	if service != "" && !slices.ContainsFunc(a.server.Model().Services, known) {
		adminhttp.WriteError(w, http.StatusNotFound, fmt.Errorf("no service %q", service))
		return
	}
	report := a.analyzer.Report(time.Now(), service)
	if r.FormValue("format") != "text" {
		adminhttp.WriteJSON(w, http.StatusOK, report)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	// A write error means that the client went away.
	_ = report.WriteText(w)
}

// status is what `routectl status` shows of this process.
func (a *app) status() map[string]any {
	return map[string]any{
		"process": "xds-server", "version": a.process.Version, "started": a.started,
		"ready": a.ready.Load(), "config": a.reload.report(), "degraded": a.degraded(),
		"certificates": a.secrets.Status(time.Now()),
	}
}

// degraded says what works less than it should, here and at the extprocs; it is not nil.
func (a *app) degraded() []string {
	return slices.Concat([]string{}, a.unready(), a.loads.Unwritten())
}

// unready is what /readyz says of this process though it is ready.
func (a *app) unready() []string {
	return slices.Concat(a.monitor.Persistence().Degraded(), a.secrets.Degraded(time.Now()))
}

// needRestart lists the settings that differ and are taken over at a start only.
func needRestart(before, after *config.XDSServer) string {
	var names []string
	if before.Listen != after.Listen {
		names = append(names, "listen")
	}
	if before.Admin != after.Admin {
		names = append(names, "admin")
	}
	if !slices.Equal(before.AdminHosts, after.AdminHosts) {
		names = append(names, "admin_hosts")
	}
	if before.State != after.State {
		names = append(names, "state")
	}
	if before.Limits != after.Limits {
		names = append(names, "limits")
	}
	if !reflect.DeepEqual(before.Analyzer, after.Analyzer) {
		names = append(names, "analyzer")
	}
	return strings.Join(slices.Sorted(slices.Values(names)), ", ")
}
