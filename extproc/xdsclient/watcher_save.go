package xdsclient

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.uber.org/zap"
)

// How the state file is kept.
const (
	// saveAfter is the least time between two saves, so that changes that come together
	// are saved together. One that comes alone is saved at once.
	saveAfter = 250 * time.Millisecond
	// saveAgain is the pause after a failed attempt.
	saveAgain = 5 * time.Second
	// confirmEvery is how often the file is told that it is still right: its age at
	// the next start is wrong by no more, even if this process is killed.
	confirmEvery = 10 * time.Second
)

// Freshness says how old the services and pods in force are.
type Freshness struct {
	// Connected: xds-server has answered on the present stream; what it knows is in
	// force.
	Connected bool
	// Confirmed is when xds-server was last heard to stand behind what is in force;
	// zero for never. While Connected, that is now.
	Confirmed time.Time
	// FromFile: what is in force was read from the state file, and no xds-server
	// has answered since the start.
	FromFile bool
}

// Age is the time since xds-server stood behind what is in force: 0 while it is
// connected, and where nothing is in force.
func (f Freshness) Age(now time.Time) time.Duration {
	if f.Connected || f.Confirmed.IsZero() {
		return 0
	}
	return max(now.Sub(f.Confirmed), 0)
}

// Freshness returns how old the services and pods in force are.
func (w *Watcher) Freshness() Freshness {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.fresh
	if f.Connected {
		f.Confirmed = w.opts.Now()
	}
	return f
}

// Restore brings what an earlier process kept in the state file into force, so
// that requests are decided before, and without, xds-server. It is to be called
// before Run. A file that is damaged is set aside. The error is that of a file that
// cannot be read or set aside.
func (w *Watcher) Restore() error {
	if w.opts.StateFile == "" {
		return nil
	}
	state, at, err := readState(w.opts.StateFile, w.opts.Services.Check)
	var damaged *damagedError
	if errors.As(err, &damaged) {
		aside, renameErr := setAside(w.opts.StateFile, w.opts.Now())
		if renameErr != nil {
			return fmt.Errorf("state file %s is damaged: %w", w.opts.StateFile, errors.Join(err, renameErr))
		}
		w.opts.Log.Error("the state file is damaged and kept aside; services and pods are not known until xds-server answers",
			zap.String("file", w.opts.StateFile), zap.String("aside", aside), zap.Error(err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	if state == nil {
		return nil
	}
	w.mu.Lock()
	w.state, w.fresh = state, Freshness{Confirmed: at, FromFile: true}
	w.mu.Unlock()
	w.opts.Log.Info("services and pods are those of the state file until xds-server answers",
		zap.String("file", w.opts.StateFile), zap.Duration("age", w.opts.Now().Sub(at)), zap.Int("services", len(state.clusters)))
	w.opts.Services.Update(state.services(), nil, state.complete())
	return nil
}

// answered notes that the server stands behind what is in force.
func (w *Watcher) answered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fresh.Connected, w.fresh.FromFile = true, false
}

// lost notes that the stream has ended.
func (w *Watcher) lost() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fresh.Connected {
		w.fresh.Connected, w.fresh.Confirmed = false, w.opts.Now()
	}
}

// noteChange has the state saved, if it differs from what was.
func (w *Watcher) noteChange(c changes) {
	if len(c.set)+len(c.gone) == 0 {
		return // versions alone are not worth a file: at worst something is sent again
	}
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// save keeps the state file until ctx ends.
func (w *Watcher) save(ctx context.Context) {
	tick := time.NewTicker(confirmEvery)
	defer tick.Stop()
	var saved time.Time // the last attempt
	for unsaved := false; ; {
		pause := time.Duration(0)
		select {
		case <-ctx.Done():
			// Whatever came last is to be known to the next process, and when.
			if unsaved || len(w.changed) > 0 {
				w.write()
			}
			w.confirm()
			return
		case <-w.changed:
			unsaved = true
		case <-tick.C:
			unsaved = !w.confirm() || unsaved
		}
		for unsaved && ctx.Err() == nil {
			if sleep(ctx, max(pause, saveAfter-time.Since(saved))) != nil {
				break
			}
			saved = time.Now()
			unsaved, pause = !w.write(), saveAgain
		}
	}
}

// write replaces the file and reports whether that is done. A state that is not
// synced is not worth keeping: the file has an older one that is.
func (w *Watcher) write() (ok bool) {
	w.mu.Lock()
	state := w.state.clone()
	w.mu.Unlock()
	if !state.complete() {
		return true
	}
	text, err := state.encode()
	if err == nil {
		err = writeState(w.opts.StateFile, text)
	}
	w.report(err)
	return err == nil
}

// confirm tells the file that it is still right, where it is, and reports whether
// the file is there to be told.
func (w *Watcher) confirm() (ok bool) {
	f := w.Freshness()
	if !f.Connected {
		return true
	}
	return os.Chtimes(w.opts.StateFile, f.Confirmed, f.Confirmed) == nil
}

// report says that the file cannot be written, once, and when it can again.
func (w *Watcher) report(err error) {
	if w.opts.OnSaved != nil {
		w.opts.OnSaved(err)
	}
	switch {
	case err != nil && !w.failing:
		w.opts.Log.Error("the state file cannot be written: a restart without xds-server would not know what has changed",
			zap.String("file", w.opts.StateFile), zap.Error(err))
	case err == nil && w.failing:
		w.opts.Log.Info("the state file can be written again", zap.String("file", w.opts.StateFile))
	}
	w.failing = err != nil
}
