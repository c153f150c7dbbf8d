package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/adminhttp"
	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/affinity/store"
	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/extproc"
	"github.com/stateful-route/stateful-route/extproc/xdsclient"
	"github.com/stateful-route/stateful-route/insight/metrics"
	"github.com/stateful-route/stateful-route/insight/tracing"
	"github.com/stateful-route/stateful-route/internal/cli"
	"github.com/stateful-route/stateful-route/internal/extensions"
	"github.com/stateful-route/stateful-route/internal/grpclimit"
)

// program is extproc with the strategies that may be named.
func program(known extensions.Set) cli.Program {
	return cli.Program{
		Check: func(file string) error { _, err := config.LoadExtproc(file, known.Config()...); return err },
		Run: func(ctx context.Context, p cli.Process) error {
			cfg, err := config.LoadExtproc(p.ConfigFile, known.Config()...)
			if err != nil {
				return err
			}
			a, err := New(ctx, Options{
				ConfigFile: p.ConfigFile, Config: *cfg, Log: thinned(p.Logger), LogLinesDropped: p.LogLinesDropped,
				Version: p.Version, Extensions: known,
			})
			if err != nil {
				return err
			}
			return a.Run(ctx)
		},
	}
}

// thinned drops most of a message that repeats hundreds of times a second, as
// one line per request does when all pods are gone.
func thinned(log *zap.Logger) *zap.Logger {
	return log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(c, time.Second, 100, 1000)
	}))
}

// Options configures the process.
type Options struct {
	// ConfigFile is watched for changes; empty watches nothing.
	ConfigFile string
	// Config is what ConfigFile held at the start.
	Config config.Extproc
	// Log is where everything is reported. Required.
	Log *zap.Logger
	// LogLinesDropped counts what Log's readers missed; nil means nobody counts.
	LogLinesDropped func() uint64
	// Credentials are those with which Envoys are answered, XDSCredentials those of the
	// connection to xds-server. nil means none: anybody who reaches a port is answered.
	Credentials, XDSCredentials credentials.TransportCredentials
	// Extensions are the strategies that may be named.
	Extensions extensions.Set
	// Version names the build in metrics, traces and the xDS node.
	Version string
	// DrainTimeout bounds how long callouts are answered at the end; what is left
	// is cut off. 0 means 500ms.
	DrainTimeout time.Duration
}

// App is the running process: the parts, and the order in which they end.
type App struct {
	opts        Options
	replica     string // which process it is, of all that share bindings
	began       time.Time
	log         *zap.Logger
	monitor     *metrics.Monitor
	tracer      *tracing.Tracer
	store       *store.Store            // nil: bindings end with the process
	found       []statefulroute.Binding // by openStore, for restorer
	epochsAbove uint64                  // by openStore, for the table
	storeSaid   atomic.Pointer[string]  // the trouble that was logged last
	table       *affinity.Table
	fast        *fastPath // nil: all requests come here
	restorer    *extproc.Restorer
	shared      *sharing      // nil: the bindings are this process's alone
	complete    chan struct{} // closed when services and pods have arrived
	serving     atomic.Bool   // Envoy is told to ask
	directory   *extproc.Directory
	watcher     *xdsclient.Watcher
	reporter    *xdsclient.LoadReporter
	reload      *reloader
	xds         *grpc.ClientConn
	server      *extproc.Server
	guard       *grpclimit.Guard
	grpc        *grpc.Server
	health      *health.Server
	admin       http.Handler
	draining    atomic.Bool

	grpcListener, adminListener net.Listener
}

// New builds every part and takes the two listening addresses, so that one in
// use is an error here and not later.
func New(ctx context.Context, o Options) (*App, error) {
	if o.Log == nil {
		return nil, errors.New("the process needs a logger")
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = 500 * time.Millisecond
	}
	if o.Credentials == nil {
		o.Credentials = insecure.NewCredentials()
	}
	replica, err := replicaName()
	if err != nil {
		return nil, err
	}
	a := &App{opts: o, replica: replica, began: time.Now(), log: o.Log, complete: make(chan struct{})}
	steps := []func(context.Context) error{
		a.observe, a.openStore, a.buildFastPath, a.buildTable, a.buildDirectory,
		a.listen, // before anything is told to Envoys: another process may be in its place
		a.buildWatcher, a.buildServer, a.buildAdmin,
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, a.close())
		}
	}
	return a, nil
}

// close frees what New took; it is for an App that does not Run.
func (a *App) close() error {
	a.stopTracing()
	var errs []error
	if a.store != nil {
		errs = append(errs, a.store.Close())
	}
	if a.shared != nil && a.shared.store != nil {
		a.shared.store.Close()
	}
	if a.fast != nil {
		errs = append(errs, a.fast.table.Close(false))
	}
	if a.xds != nil {
		errs = append(errs, a.xds.Close())
	}
	for _, l := range []net.Listener{a.grpcListener, a.adminListener} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// Run serves until ctx ends, then stops: no longer ready, callouts under way
// answered or cut off after DrainTimeout, what is buffered written out. Until it
// has stopped, nobody answers Envoy and the next process cannot have the store, so
// it is to take well under a second.
func (a *App) Run(ctx context.Context) error {
	a.log.Info("extproc starts", zap.String("version", a.opts.Version),
		zap.Stringer("listen", a.grpcListener.Addr()), zap.Stringer("admin", a.adminListener.Addr()),
		zap.String("xds", a.opts.Config.XDS))
	stopStore := a.keep()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.serveGRPC(ctx) })
	group.Go(func() error { return a.becomeReady(ctx) })
	group.Go(func() error { return adminhttp.Serve(ctx, a.adminListener, a.admin, a.opts.Config.AdminHosts...) })
	group.Go(func() error { return untilCanceled(a.watcher.Run(ctx)) })
	group.Go(func() error { return untilCanceled(a.reporter.Run(ctx)) })
	group.Go(func() error { return a.sweep(ctx) })
	group.Go(func() error { return a.everySecond(ctx) })
	if a.opts.ConfigFile != "" {
		group.Go(func() error { return a.reload.watch(ctx, a.opts.ConfigFile) })
	}
	group.Go(func() error { return a.stopWhenDone(ctx) })
	err := errors.Join(group.Wait(), stopStore())
	a.stopTracing() // the store first: the next process waits for it
	a.log.Info("extproc has stopped")
	return err
}

// untilCanceled drops the error with which a loop reports that its context ended.
func untilCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// letGoWithin is how long the end waits for responses that are to give their
// clients something; new callouts are answered meanwhile.
const letGoWithin = 250 * time.Millisecond

// stopWhenDone ends the servers, which do not watch the context themselves: streams
// whose request was decided are let go of, Envoy is told by GOAWAY, and callouts under
// way are answered. grpc.health.v1 says that all is well for as long as new callouts
// are answered, too: the others may be away, or not seen to be back.
func (a *App) stopWhenDone(ctx context.Context) error {
	<-ctx.Done()
	a.log.Info("extproc stops")
	a.draining.Store(true)
	bounded, cancel := context.WithTimeout(context.Background(), a.opts.DrainTimeout)
	defer cancel()
	owed, cancelOwed := context.WithTimeout(bounded, letGoWithin)
	defer cancelOwed()
	a.server.Drain(owed)
	stopGRPC(bounded, a.grpc)
	return a.xds.Close()
}

// stopTracing exports what is left. Its time is its own: the requests that used
// up the drain's are those whose spans are wanted most.
func (a *App) stopTracing() {
	bounded, cancel := context.WithTimeout(context.Background(), traceWithin)
	defer cancel()
	if err := a.tracer.Shutdown(bounded); err != nil {
		a.log.Warn("traces not exported", zap.Error(err))
	}
}

// traceWithin bounds the export of what is left at the end: a collector that does
// not answer must not keep the next process from its start.
const traceWithin = 300 * time.Millisecond

// stopGRPC lets requests in flight finish until ctx ends.
func stopGRPC(ctx context.Context, s *grpc.Server) {
	done := make(chan struct{})
	go func() {
		s.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		s.Stop()
		<-done
	}
}

// ready says why the process is not ready; nil means that it is.
func (a *App) ready() error {
	switch {
	case a.draining.Load():
		return errors.New("shutting down")
	case !a.directory.Complete():
		return errors.New("services and pods have not arrived from xds-server yet")
	case !a.serving.Load() && a.shared != nil:
		return errors.New("the store has not answered yet")
	case !a.serving.Load():
		return errors.New("callouts are about to be answered")
	}
	return nil
}

// becomeReady has Envoys ask when services, pods and, where there is one, the store of
// all replicas are known.
func (a *App) becomeReady(ctx context.Context) error {
	select {
	case <-a.complete:
	case <-ctx.Done():
		return nil
	}
	if a.shared != nil {
		a.awaitShared(ctx)
	}
	if ctx.Err() == nil {
		a.serving.Store(true)
		a.setHealth(healthv1.HealthCheckResponse_SERVING)
		a.log.Info("ready")
	}
	return nil
}

// degraded says what works less than it should although the process is ready.
func (a *App) degraded() []string {
	out := append(a.monitor.Persistence().Degraded(), a.directory.LeftOut()...)
	if f := a.watcher.Freshness(); !f.Connected && a.directory.Complete() {
		out = append(out, fmt.Sprintf("xds-server does not answer: services and pods are as they were %s ago", f.Age(time.Now()).Round(time.Second)))
	}
	if a.shared != nil && a.shared.table.Left() <= 0 {
		out = append(out, errNoLease.Error())
	}
	return out
}
