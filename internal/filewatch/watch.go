// Package filewatch tells when a file was changed.
package filewatch

import (
	"context"
	"errors"
	"fmt"
	"os"
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
			Settled(ctx, file, longestSettle)
			changed()
		}
	}
}

// Watch calls changed after file was written or replaced, until ctx ends, which
// is no error. It watches the file's folder, so that editors which write a new
// file over the old one, and Kubernetes volumes which swap a link, are seen. A
// burst of events is one call. A file that was replaced in one step is whole, so
// the call is made once it was left alone for quiet (0 means 50 ms). One that is
// written in place is not, before nobody writes any more: the call is made once
// it was left alone for ten times that. Whoever goes on and on is not waited for
// longer than a minute, or ten times quiet where nothing is written. changed
// runs on Watch's own goroutine. It may be called without a change: at the
// beginning, and when events were lost. An error says why there is no watch, or
// no longer.
func Watch(ctx context.Context, file string, quiet time.Duration, changed func()) error {
	if quiet == 0 {
		quiet = defaultQuiet
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
	settled(ctx, file, settleFactor*quiet, longestSettle)
	changed()
	if err := debounce(ctx, watcher.Events, watcher.Errors, file, quiet, changed); err != nil {
		return fmt.Errorf("watch %s: %w", file, err)
	}
	return nil
}

const (
	defaultQuiet = 50 * time.Millisecond
	// settleFactor makes the pause after which a file that is written in place is
	// taken for whole: a program that writes line by line pauses in between.
	settleFactor = 10
	// longestSettle bounds the wait for a file that is written again and again.
	longestSettle = time.Minute
)

// Settled waits, no longer than longest, until file was left alone for half a
// second. It looks at when the file was modified last, so it is for readers that
// do not watch it; a file that was not touched for longer is not waited for.
func Settled(ctx context.Context, file string, longest time.Duration) {
	settled(ctx, file, settleFactor*defaultQuiet, longest)
}

func settled(ctx context.Context, file string, settle, longest time.Duration) {
	for end := time.Now().Add(longest); time.Now().Before(end); {
		info, err := os.Stat(file)
		if err != nil {
			return
		}
		age := time.Since(info.ModTime())
		if age < 0 || age >= settle { // a time to come tells nothing
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(settle - age):
		}
	}
}

func debounce(ctx context.Context, events <-chan fsnotify.Event, errs <-chan error, file string, quiet time.Duration, changed func()) error {
	var pending burst
	timer := time.NewTimer(quiet)
	timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-events:
			if event.Name == filepath.Dir(file) && event.Has(fsnotify.Remove|fsnotify.Rename) {
				return errors.New("its folder is gone")
			}
			if concerns(event, file) {
				timer.Reset(pending.add(time.Now(), event.Has(fsnotify.Write), quiet))
			}
		case err := <-errs:
			// Events were lost, most likely for want of room: the file's own
			// may be among them, and what they were is not known.
			if err != nil {
				timer.Reset(pending.add(time.Now(), true, quiet))
			}
		case <-timer.C:
			pending = burst{}
			changed()
		}
	}
}

// burst is a number of events that become one call.
type burst struct {
	first   time.Time
	written bool // in place: what is there may be half of it
}

// add books an event and returns how long to wait for the next one.
func (b *burst) add(now time.Time, written bool, quiet time.Duration) time.Duration {
	if b.first.IsZero() {
		b.first = now
	}
	b.written = b.written || written
	wait, longest := quiet, 10*quiet
	if b.written {
		wait, longest = settleFactor*quiet, max(longestSettle, settleFactor*quiet)
	}
	return min(wait, max(0, b.first.Add(longest).Sub(now)))
}

// concerns reports whether an event may have changed what file holds.
func concerns(event fsnotify.Event, file string) bool {
	name := filepath.Base(event.Name)
	return event.Op != fsnotify.Chmod && (name == filepath.Base(file) || name == kubernetesData)
}
