package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/internal/filewatch"
	"github.com/stateful-route/stateful-route/xds/discovery"
	"github.com/stateful-route/stateful-route/xds/secret"
	"github.com/stateful-route/stateful-route/xds/state"
)

// reader reads a configuration.
type reader func(file string, more ...config.Option) (*config.XDSServer, error)

// reloader keeps the configuration in force equal to the file, or, when the
// file is bad, to its last good version.
type reloader struct {
	app  *app
	read reader

	mu      sync.Mutex
	current *config.XDSServer
	failure error

	// Owned by run.
	refused *config.XDSServer // what failure is about, if it could be read
	mending *mending
}

// run follows the file until ctx ends.
func (r *reloader) run(ctx context.Context) {
	due := make(chan struct{}, 1)
	signal := func() {
		select {
		case due <- struct{}{}:
		default:
		}
	}
	var group sync.WaitGroup
	defer group.Wait()
	defer func() { r.mending.stop() }()
	group.Go(func() {
		filewatch.Follow(ctx, r.app.process.ConfigFile, signal, func(err error) {
			r.app.process.Logger.Error("the configuration is looked at now and then only", zap.Error(err))
		})
	})
	for {
		select {
		case <-ctx.Done():
			return
		case <-due:
			r.awaitMending(ctx, r.changed(ctx), signal)
		}
	}
}

// changed loads the configuration and returns why it is refused.
func (r *reloader) changed(ctx context.Context) error {
	cfg, err := r.read(r.app.process.ConfigFile, config.WithKeptSecrets(r.app.secrets.Keeps))
	if err == nil && r.same(cfg) {
		return nil
	}
	if err == nil {
		err = r.apply(ctx, cfg)
	}
	if err == nil || ctx.Err() != nil {
		r.refused = nil
		return err
	}
	if cfg != nil && reflect.DeepEqual(cfg, r.refused) && err.Error() == r.problem() {
		return err // nothing is new
	}
	r.refused = cfg
	r.note(nil, err)
	r.app.process.Logger.Error("the new configuration is bad: the last good one stays", zap.Error(err))
	return err
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
	r.failure, r.refused = nil, nil
	return true
}

// apply brings cfg into force and starts following its pod sources.
func (r *reloader) apply(ctx context.Context, cfg *config.XDSServer) error {
	err := r.app.sources.Change(ctx, cfg.Services, func(pods map[string][]statefulroute.Pod) error {
		return r.app.secrets.Change(ctx, cfg.Secrets(), func(secrets map[string]*secret.Secret) error {
			gateway := state.GatewayOf(cfg.Envoy)
			gateway.Secrets = secrets
			if err := r.app.server.SetConfig(ctx, gateway, cfg.Services, pods); err != nil {
				return fmt.Errorf("%s: %w", r.app.process.ConfigFile, err)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	if before := r.note(cfg, nil); before != nil {
		r.app.process.Logger.Info("configuration reloaded", zap.Int("services", len(cfg.Services)))
		if names := needRestart(before, cfg); names != "" {
			r.app.process.Logger.Warn("these settings change only with a restart", zap.String("settings", names))
		}
	}
	r.remind(cfg)
	return nil
}

// remind says what must be true elsewhere, where it is not seen from here.
func (r *reloader) remind(cfg *config.XDSServer) {
	if n := len(cfg.Envoy.Extproc.Addresses); n > 1 {
		r.app.process.Logger.Info("envoy.extproc.address names several replicas: unless they share a store, each binds sessions by itself, and one session may be on several pods",
			zap.Int("replicas", n))
	}
	if cfg.Insecure && slices.ContainsFunc(cfg.Secrets(), func(s secret.Ref) bool { return s.Key != "" }) {
		r.app.process.Logger.Warn("insecure: private keys are given, in plain text, to whoever asks at this address", zap.String("listen", cfg.Listen))
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

// mending follows the files, of pods or certificates, for which a configuration was
// refused: when one changes, the configuration may be good.
type mending struct {
	files  []string
	cancel context.CancelFunc
	group  sync.WaitGroup
}

// awaitMending has signal called when a file changes that err blames, and no
// other any more.
func (r *reloader) awaitMending(ctx context.Context, err error, signal func()) {
	files := badFiles(err)
	if r.mending != nil && slices.Equal(files, r.mending.files) {
		return
	}
	r.mending.stop()
	r.mending = nil
	if len(files) == 0 {
		return
	}
	m := &mending{files: files}
	ctx, m.cancel = context.WithCancel(ctx)
	for _, file := range files {
		m.group.Go(func() { filewatch.Follow(ctx, file, signal, func(error) {}) }) // the refusal was told
	}
	r.mending = m
}

func (m *mending) stop() {
	if m != nil {
		m.cancel()
		m.group.Wait()
	}
}

// badFiles are the files, beside the configuration, that an error blames.
func badFiles(err error) []string {
	var pods *discovery.SourcesError
	var named *config.FilesError
	var certificates *secret.Errors
	switch {
	case errors.As(err, &pods):
		return pods.Files
	case errors.As(err, &named):
		return named.Files
	case errors.As(err, &certificates):
		return certificates.Files
	}
	return nil
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
