package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/stateful-route/stateful-route/adminhttp"
	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/insight"
	"github.com/stateful-route/stateful-route/internal/cli"
	"github.com/stateful-route/stateful-route/xds"
)

// app wires the control plane's parts together.
type app struct {
	process cli.Process
	started time.Time
	monitor *insight.Monitor
	server  *xds.Server
	loads   *xds.Loads
	sources *xds.Sources
	reload  *reloader
	ready   atomic.Bool
}

func run(ctx context.Context, p cli.Process) error {
	cfg, err := config.LoadXDSServer(p.ConfigFile)
	if err != nil {
		return err
	}
	a, err := newApp(p)
	if err != nil {
		return err
	}
	return a.run(ctx, cfg)
}

func newApp(p cli.Process) (*app, error) {
	monitor, err := insight.NewMonitor(insight.MonitorOptions{Process: "xds-server", Version: p.Version})
	if err != nil {
		return nil, err
	}
	server, err := xds.New(xds.Options{Logger: p.Logger.Named("xds"), Observer: monitor, Boot: rand.Text()[:8]})
	if err != nil {
		return nil, err
	}
	a := &app{
		process: p, started: time.Now(), monitor: monitor, server: server, loads: xds.NewLoads(),
		sources: &xds.Sources{Logger: p.Logger.Named("pods"), Resolver: net.DefaultResolver},
	}
	a.reload = &reloader{app: a}
	return a, nil
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
	lrs := &xds.LoadService{Loads: a.loads, Model: a.server.Model}

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.server.Run(ctx) })
	group.Go(func() error { return adminhttp.Serve(ctx, admin, a.handler()) })
	group.Go(func() error {
		// Envoys that find us must find their routes: nothing is served before
		// the first configuration is in force.
		if err := a.reload.apply(ctx, cfg); err != nil {
			return err
		}
		group.Go(func() error { return a.reload.run(ctx) })
		a.ready.Store(true)
		a.process.Logger.Info("serving", zap.String("xds", cfg.Listen), zap.String("admin", cfg.Admin), zap.Int("services", len(cfg.Services)))
		return a.server.Serve(ctx, listener, lrs.RegisterOn)
	})
	err = group.Wait()
	a.process.Logger.Info("stopped")
	return err
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
	adminhttp.Register(mux, adminhttp.Options{Metrics: a.monitor.Handler(), Ready: func() error {
		if !a.ready.Load() {
			return errors.New("starting")
		}
		return nil
	}})
	(&xds.Admin{Server: a.server, Loads: a.loads}).Register(mux)
	mux.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		adminhttp.WriteJSON(w, http.StatusOK, a.status())
	})
	return mux
}

// status is what `routectl status` shows of this process.
func (a *app) status() map[string]any {
	return map[string]any{
		"process": "xds-server", "version": a.process.Version, "started": a.started,
		"ready": a.ready.Load(), "config": a.reload.report(),
	}
}

func gateway(e config.Envoy) xds.Gateway {
	return xds.Gateway{
		Listener: e.Listener, Extprocs: e.Extproc.Addresses,
		MessageTimeout: e.Extproc.MessageTimeout, DebugHeaders: e.DebugHeaders,
	}
}

// fixed lists the settings that differ and need a restart.
func fixed(before, after *config.XDSServer) string {
	var names []string
	if before.Listen != after.Listen {
		names = append(names, "listen")
	}
	if before.Admin != after.Admin {
		names = append(names, "admin")
	}
	return strings.Join(slices.Sorted(slices.Values(names)), ", ")
}
