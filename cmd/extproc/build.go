package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/extproc"
	"github.com/stateful-route/stateful-route/extproc/admin"
	"github.com/stateful-route/stateful-route/extproc/xdsclient"
	"github.com/stateful-route/stateful-route/insight/metrics"
	"github.com/stateful-route/stateful-route/insight/tracing"
)

func (a *App) observe(ctx context.Context) (err error) {
	if a.monitor, err = metrics.NewMonitor(metrics.MonitorOptions{Process: "extproc", Version: a.opts.Version}); err != nil {
		return err
	}
	if a.tracer, err = tracing.NewTracer(ctx, tracing.TracerOptions{Process: "extproc", Version: a.opts.Version}); err != nil {
		return err
	}
	return errors.Join(a.monitor.LogLines(a.opts.LogLinesDropped), a.monitor.Spans(a.tracer))
}

func (a *App) buildTable(context.Context) (err error) {
	c := a.opts.Config.Affinity
	o := affinity.Options{
		Strategy:          c.Strategy,
		Registry:          a.opts.Extensions.Eviction,
		Capacity:          c.Capacity,
		DefaultExpiration: c.DefaultExpiration,
		CleanupInterval:   c.CleanupInterval,
		OnSwitch: func(from, to, why string) {
			a.log.Info("the adaptive strategy switched", zap.String("from", from), zap.String("to", to), zap.String("why", why))
		},
	}
	var forget func(service, key string)
	if a.store != nil { // a nil *Store in the interface would not be a nil Journal
		o.Journal, o.EpochsAbove, forget = a.store, a.epochsAbove, a.store.Delete
	}
	a.share(&o)
	if a.fast != nil {
		o.Mirror = a.fast
	}
	if a.table, err = affinity.New(o); err != nil {
		return err
	}
	if err := a.shareTable(); err != nil {
		return err
	}
	a.restorer = extproc.NewRestorer(a.table, forget, a.found, a.log.With(zap.String("store", memoryStore(a.opts.Config).Path)))
	a.found = nil
	return a.monitor.TableStats(func() metrics.TableStats {
		s := a.table.Stats()
		return metrics.TableStats{Size: s.Size, Evictions: s.Evictions, GhostRestores: s.GhostRestores, Broken: s.Broken}
	})
}

func (a *App) buildDirectory(context.Context) (err error) {
	a.health = health.NewServer() // says of the process as a whole that it serves
	a.setHealth(healthv1.HealthCheckResponse_NOT_SERVING)
	o := extproc.DirectoryOptions{
		Registry:           a.opts.Extensions.Balancing,
		Seed:               rand.Uint64(),
		Monitor:            a.monitor,
		IdleTimeouts:       a.idleTimeouts(),
		DefaultIdleTimeout: a.opts.Config.Affinity.DefaultExpiration,
		Log:                a.log,
		OnComplete: func() {
			a.restorer.Finish()
			a.log.Info("services and pods have arrived")
			close(a.complete)
		},
	}
	if a.fast != nil {
		o.FastPath = restoredFirst{a.fast.table, a.table}
	}
	a.directory, err = extproc.NewDirectory(o)
	return err
}

// setHealth is of callouts: whether they are decided here, or wait until services are
// known.
func (a *App) setHealth(s healthv1.HealthCheckResponse_ServingStatus) {
	a.health.SetServingStatus(extprocv3.ExternalProcessor_ServiceDesc.ServiceName, s)
}

func (a *App) buildWatcher(context.Context) (err error) {
	if a.xds, err = xdsclient.Dial(a.opts.Config.XDS, xdsclient.DialOptions{Credentials: a.opts.XDSCredentials}); err != nil {
		return err
	}
	id := "extproc/" + a.replica
	a.watcher, err = xdsclient.NewWatcher(xdsclient.WatcherOptions{
		Conn:     a.xds,
		NodeID:   id,
		Version:  a.opts.Version,
		Services: a.directory,
		OnNack:   func(typeURL string, _ error) { a.monitor.XDSNack(typeURL) },
		Log:      a.log,

		StateFile: a.opts.Config.State,
		OnSaved:   func(err error) { a.monitor.Persistence().Report(metrics.PersistedServices, err) },
	})
	if err != nil {
		return err
	}
	if err := a.watcher.Restore(); err != nil {
		return err
	}
	if err := a.monitor.XDSStateAge(func() time.Duration { return a.watcher.Freshness().Age(time.Now()) }); err != nil {
		return err
	}
	a.reporter, err = xdsclient.NewLoadReporter(xdsclient.LoadReporterOptions{
		Conn: a.xds, NodeID: id, Usage: a.usage(), Log: a.log,
		Report: func(since time.Duration) []*endpointv3.ClusterStats {
			a.harvest(time.Now())
			return a.directory.LoadReport(a.reportedSessions(), since)
		},
	})
	return err
}

func (a *App) buildServer(context.Context) error {
	var err error
	a.server, err = extproc.NewServer(extproc.ServerOptions{
		Directory: a.directory, Table: a.sessions(), Tracer: a.tracer, Log: a.log,
	})
	if err != nil {
		return err
	}
	if a.guard, err = extproc.NewGuard(extproc.ClientLimits(a.opts.Config.Limits), a.log); err != nil {
		return err
	}
	if err := a.monitor.Register("clients", a.guard); err != nil {
		return err
	}
	a.grpc = extproc.NewGRPCServer(a.server, append(a.guard.ServerOptions(), grpc.Creds(a.opts.Credentials))...)
	healthv1.RegisterHealthServer(a.grpc, a.health)
	return nil
}

func (a *App) buildAdmin(context.Context) error {
	a.reload = newReloader(a.opts.Config, a.directory, a.monitor, a.log, a.opts.Extensions.Config()...)
	var err error
	a.admin, err = admin.New(admin.Options{
		Directory:  a.directory,
		Lister:     a.sessions(),
		Editor:     a.sessions(),
		Metrics:    a.harvested(a.monitor.Handler()),
		TableStats: a.tableStats,
		Replicas:   a.replicas,
		Ready:      a.ready,
		Degraded:   a.degraded,
		Freshness:  a.watcher.Freshness,
		Tracer:     a.tracer,
		Log:        a.log,
	})
	return err
}
