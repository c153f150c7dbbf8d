package main

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/xds"
)

// reloader keeps the configuration in force equal to the file, or, when the
// file is bad, to its last good version.
type reloader struct {
	app  *app
	read func(file string) (*config.XDSServer, error)

	mu      sync.Mutex
	current *config.XDSServer
	failure error
	cancel  context.CancelFunc // ends the sources of current
	done    chan struct{}      // closed when they have ended
}

// run follows the file until ctx ends.
func (r *reloader) run(ctx context.Context) {
	defer r.stopSources()
	config.Follow(ctx, r.app.process.ConfigFile, func() { r.changed(ctx) }, func(err error) {
		r.app.process.Logger.Error("the configuration is looked at now and then only", zap.Error(err))
	})
}

func (r *reloader) changed(ctx context.Context) {
	cfg, err := r.read(r.app.process.ConfigFile)
	if err == nil && r.same(cfg) {
		return
	}
	if err == nil {
		err = r.apply(ctx, cfg)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	r.note(nil, err)
	r.app.process.Logger.Error("the new configuration is bad: the last good one stays", zap.Error(err))
}

// same reports whether cfg is in force already, and clears an earlier failure.
func (r *reloader) same(cfg *config.XDSServer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !reflect.DeepEqual(r.current, cfg) {
		return false
	}
	if r.failure != nil {
		r.app.monitor.ConfigReload(true)
	}
	r.failure = nil
	return true
}

// apply brings cfg into force and starts following its pod sources.
func (r *reloader) apply(ctx context.Context, cfg *config.XDSServer) error {
	pods, err := r.app.sources.Load(ctx, cfg.Services)
	if err != nil {
		return err
	}
	if err := r.app.server.SetConfig(ctx, xds.GatewayOf(cfg.Envoy), cfg.Services, pods); err != nil {
		return fmt.Errorf("%s: %w", r.app.process.ConfigFile, err)
	}
	if before := r.note(cfg, nil); before != nil {
		r.app.process.Logger.Info("configuration reloaded", zap.Int("services", len(cfg.Services)))
		if names := needRestart(before, cfg); names != "" {
			r.app.process.Logger.Warn("these settings change only with a restart", zap.String("settings", names))
		}
	}
	r.warn(cfg)
	r.startSources(ctx, cfg)
	return nil
}

// warn says what is allowed and yet likely not meant.
func (r *reloader) warn(cfg *config.XDSServer) {
	if n := len(cfg.Envoy.Extproc.Addresses); n > 1 {
		r.app.process.Logger.Warn("envoy.extproc.address names several replicas, which do not share their bindings: one session may be bound to a different pod by each; name one",
			zap.Int("replicas", n))
	}
}

// note books the outcome of a load and returns the configuration before it.
func (r *reloader) note(cfg *config.XDSServer, failure error) (before *config.XDSServer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before = r.current
	r.failure = failure
	if before != nil { // the first one is no reload
		r.app.monitor.ConfigReload(failure == nil)
	}
	if failure == nil {
		r.current = cfg
	}
	return before
}

func (r *reloader) startSources(ctx context.Context, cfg *config.XDSServer) {
	r.stopSources()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	r.mu.Lock()
	r.cancel, r.done = cancel, done
	r.mu.Unlock()
	from := make(map[string]statefulroute.PodSource, len(cfg.Services))
	for _, svc := range cfg.Services {
		from[svc.Name] = svc.Pods
	}
	go func() {
		defer close(done)
		r.app.sources.Run(ctx, cfg.Services, func(service string, pods []statefulroute.Pod) error {
			return r.app.server.SetPods(ctx, service, from[service], pods)
		})
	}()
}

func (r *reloader) stopSources() {
	r.mu.Lock()
	cancel, done := r.cancel, r.done
	r.cancel = nil
	r.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
}

// problem says why the newest configuration is not in force; empty when it is.
func (r *reloader) problem() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == nil {
		return ""
	}
	return r.failure.Error()
}

// report is the configuration's part of the status.
func (r *reloader) report() map[string]any {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]any{"file": r.app.process.ConfigFile, "good": r.failure == nil}
	if r.failure != nil {
		out["error"] = r.failure.Error()
	}
	return out
}
