package config

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// followRetry is the pause between two looks at a file that cannot be watched.
const followRetry = 5 * time.Second

// kubernetesData is the link that Kubernetes swaps to replace all files of a
// mounted ConfigMap at once; the files themselves are links that never change.
const kubernetesData = "..data"

// Follow is Watch that does not give up: a file that cannot be watched, for its
// folder is missing or the system has no watch left, is looked at every five
// seconds, that is changed is called, until it can be. Each time that begins,
// failed is told why.
func Follow(ctx context.Context, file string, changed func(), failed func(error)) {
	follow(ctx, file, followRetry, changed, failed)
}

func follow(ctx context.Context, file string, retry time.Duration, changed func(), failed func(error)) {
	timer := time.NewTimer(retry)
	defer timer.Stop()
	told := false
	for {
		err := Watch(ctx, file, 0, func() { told = false; changed() })
		if err == nil {
			return
		}
		if !told {
			failed(err)
			told = true
		}
		timer.Reset(retry)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			changed()
		}
	}
}

// Watch calls changed after file was written or replaced, until ctx ends, which
// is no error. It watches the file's folder, so that editors which write a new
// file over the old one, and Kubernetes volumes which swap a link, are seen. A
// burst of events is one call, made once the file was left alone for quiet (0
// means 50 ms) and no later than ten times that. changed runs on Watch's own
// goroutine. It may be called without a change: at the beginning, and when
// events were lost. An error says why there is no watch, or no longer.
func Watch(ctx context.Context, file string, quiet time.Duration, changed func()) error {
	if quiet == 0 {
		quiet = 50 * time.Millisecond
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", file, err)
	}
	defer watcher.Close()
	if err := watcher.Add(filepath.Dir(file)); err != nil {
		return fmt.Errorf("watch %s: %w", file, err)
	}
	// What was written between the caller's reading and this watch is not lost.
	changed()
	if err := debounce(ctx, watcher.Events, watcher.Errors, file, quiet, changed); err != nil {
		return fmt.Errorf("watch %s: %w", file, err)
	}
	return nil
}

func debounce(ctx context.Context, events <-chan fsnotify.Event, errs <-chan error, file string, quiet time.Duration, changed func()) error {
	var first time.Time
	timer := time.NewTimer(quiet)
	timer.Stop()
	later := func() {
		if first.IsZero() {
			first = time.Now()
		}
		timer.Reset(min(quiet, max(0, time.Until(first.Add(10*quiet)))))
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-events:
			if event.Name == filepath.Dir(file) && event.Has(fsnotify.Remove|fsnotify.Rename) {
				return errors.New("its folder is gone")
			}
			if concerns(event, file) {
				later()
			}
		case err := <-errs:
			// Events were lost, most likely for want of room: the file's own
			// may be among them.
			if err != nil {
				later()
			}
		case <-timer.C:
			first = time.Time{}
			changed()
		}
	}
}

// concerns reports whether an event may have changed what file holds.
func concerns(event fsnotify.Event, file string) bool {
	name := filepath.Base(event.Name)
	return event.Op != fsnotify.Chmod && (name == filepath.Base(file) || name == kubernetesData)
}
