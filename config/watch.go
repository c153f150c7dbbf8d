package config

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Watch calls changed after file was written or replaced, until ctx ends. It
// watches the file's folder, so that editors which write a new file over the
// old one, and Kubernetes volumes which swap a link, are seen. A burst of
// events is one call, made once the folder was quiet for quiet (0 means 50 ms)
// and no later than ten times that. changed runs on Watch's own goroutine.
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
	return debounce(ctx, watcher.Events, watcher.Errors, quiet, changed)
}

func debounce(ctx context.Context, events <-chan fsnotify.Event, errs <-chan error, quiet time.Duration, changed func()) error {
	var first time.Time
	timer := time.NewTimer(quiet)
	timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-events:
			if event.Op == fsnotify.Chmod {
				continue
			}
			if first.IsZero() {
				first = time.Now()
			}
			timer.Reset(min(quiet, max(0, time.Until(first.Add(10*quiet)))))
		case err := <-errs:
			return fmt.Errorf("watch files: %w", err)
		case <-timer.C:
			first = time.Time{}
			changed()
		}
	}
}
