package shared

import (
	"context"
	"sync"
	"time"
)

// waits are for entries of the log that all replicas have to act on: however many wait for
// one, one asks.
type waits struct {
	mu      sync.Mutex
	waiting map[waitFor]*wait
}

type waitFor struct {
	at    *incarnation
	entry uint64
}

type wait struct {
	done   chan struct{}
	err    error
	n      int // who wait
	cancel context.CancelFunc
}

// How long one who asks whether all have acted leaves off: replicas act within a few
// milliseconds, and one that has stopped within its lease.
const (
	firstAsk = time.Millisecond
	mostAsk  = 50 * time.Millisecond
)

// acted returns when all replicas have acted on an entry of the log.
func (t *Table) acted(ctx context.Context, at *incarnation, entry uint64) error {
	w := t.waits.join(ctx, waitFor{at, entry}, t)
	defer t.waits.leave(waitFor{at, entry}, w)
	select {
	case <-w.done:
		return w.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (ws *waits) join(ctx context.Context, name waitFor, t *Table) *wait {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	w := ws.waiting[name]
	if w == nil {
		// It asks for as long as anybody waits, not only the first.
		asking, cancel := context.WithCancel(context.WithoutCancel(ctx))
		w = &wait{done: make(chan struct{}), cancel: cancel}
		if ws.waiting == nil {
			ws.waiting = map[waitFor]*wait{}
		}
		ws.waiting[name] = w
		go func() {
			defer close(w.done)
			w.err = t.askActed(asking, name)
		}()
	}
	w.n++
	return w
}

func (ws *waits) leave(name waitFor, w *wait) {
	ws.mu.Lock()
	w.n--
	last := w.n == 0
	if last {
		delete(ws.waiting, name)
		w.cancel()
	}
	ws.mu.Unlock()
	if last {
		<-w.done
	}
}

func (t *Table) askActed(ctx context.Context, name waitFor) error {
	for pause := firstAsk; ; pause = min(2*pause, mostAsk) {
		called, cancel := context.WithTimeout(ctx, t.opts.CallTimeout)
		replies, err := name.at.arbiter.Finish(called, "", []string{""}, name.entry)
		cancel()
		if err == nil && replies[0].Code != Changing {
			return nil
		}
		if ctx.Err() != nil || t.now.Load() != name.at {
			return errNoLease
		}
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// sleep reports whether ctx still goes on after d.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
