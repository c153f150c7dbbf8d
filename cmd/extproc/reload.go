package main

import (
	"context"
	"reflect"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/extproc"
	"github.com/stateful-route/stateful-route/internal/filewatch"
)

// reloadCounter counts attempts to load a changed configuration.
type reloadCounter interface{ ConfigReload(ok bool) }

// reloader takes over what may change while the process runs, and says what
// may not.
type reloader struct {
	directory *extproc.Directory
	counter   reloadCounter
	log       *zap.Logger
	known     []config.Option

	mu      sync.Mutex
	current config.Extproc
	bad     bool // the file as it is now was refused
}

func newReloader(current config.Extproc, d *extproc.Directory, c reloadCounter, log *zap.Logger, known ...config.Option) *reloader {
	return &reloader{current: current, directory: d, counter: c, log: log, known: known}
}

// watch reloads file whenever it changes. A file that cannot be watched is no
// reason to stop serving.
func (r *reloader) watch(ctx context.Context, file string) error {
	if err := filewatch.Watch(ctx, file, 0, func() { r.load(file) }); err != nil {
		r.log.Error("the configuration is no longer watched", zap.Error(err))
	}
	return nil
}

// load takes over a changed file, or keeps the good version if it is bad.
func (r *reloader) load(file string) {
	next, err := config.LoadExtproc(file, r.known...)
	if err != nil {
		r.counter.ConfigReload(false)
		r.setBad(true)
		r.log.Error("changed configuration refused; the last good one stays in force", zap.Error(err))
		return
	}
	// A bad version that is taken back is good news, though it changes nothing.
	if mended := r.setBad(false); r.apply(*next) || mended {
		r.counter.ConfigReload(true)
	}
}

// setBad returns whether the file was bad before.
func (r *reloader) setBad(bad bool) (before bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, r.bad = r.bad, bad
	return before
}

// apply reports whether anything changed.
func (r *reloader) apply(next config.Extproc) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	fixed := needRestart(r.current, next)
	live := r.current.Affinity.DefaultExpiration != next.Affinity.DefaultExpiration ||
		r.current.Affinity.CleanupInterval != next.Affinity.CleanupInterval
	r.current = next
	if live {
		r.directory.SetDefaultIdleTimeout(next.Affinity.DefaultExpiration)
		r.log.Info("configuration reloaded", zap.Duration("default_expiration", next.Affinity.DefaultExpiration),
			zap.Duration("cleanup_interval", next.Affinity.CleanupInterval))
	}
	if len(fixed) > 0 {
		r.log.Warn("changed settings take effect at the next start", zap.Strings("settings", fixed))
	}
	return live || len(fixed) > 0
}

// needRestart lists the changed settings that cannot be taken over live.
func needRestart(a, b config.Extproc) []string {
	var out []string
	for _, s := range []struct {
		name    string
		changed bool
	}{
		{"listen", a.Listen != b.Listen},
		{"admin", a.Admin != b.Admin},
		{"admin_hosts", !slices.Equal(a.AdminHosts, b.AdminHosts)},
		{"xds", a.XDS != b.XDS},
		{"state", a.State != b.State},
		{"affinity.strategy", a.Affinity.Strategy != b.Affinity.Strategy},
		{"affinity.capacity", a.Affinity.Capacity != b.Affinity.Capacity},
		{"fast_path", a.FastPath != b.FastPath},
		{"limits", a.Limits != b.Limits},
		{"store", !reflect.DeepEqual(a.Store, b.Store)},
	} {
		if s.changed {
			out = append(out, s.name)
		}
	}
	return out
}

// memoryStore is the zero value where there is none.
func memoryStore(c config.Extproc) config.MemoryStore {
	if c.Store.Memory == nil {
		return config.MemoryStore{}
	}
	return *c.Store.Memory
}

// cleanupInterval is the pause between two sweeps; a change holds from the next
// pause on.
func (r *reloader) cleanupInterval() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current.Affinity.CleanupInterval
}
