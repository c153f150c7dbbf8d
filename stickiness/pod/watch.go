package pod

import (
	"context"
	"sync"
	"time"
)

// A process that does not get the processor cannot answer, whoever is to blame.
const (
	watchEvery = 50 * time.Millisecond
	stallFrom  = 150 * time.Millisecond
)

// Stall is a time in which a process did not run though it wanted to, in
// nanoseconds since 1970.
type Stall struct {
	From  int64 `json:"from"`
	Until int64 `json:"until"`
}

// Watch notes when its own process stalls.
type Watch struct {
	mu     sync.Mutex
	last   time.Time
	stalls []Stall
}

// NewWatch is a watch that Run makes go.
func NewWatch(now time.Time) *Watch { return &Watch{last: now} }

// Run watches until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			w.tick(time.Now())
		}
	}
}

func (w *Watch) tick(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.Sub(w.last) >= stallFrom {
		w.stalls = append(w.stalls, Stall{From: w.last.UnixNano(), Until: now.UnixNano()})
	}
	w.last = now
}

// Stalls are those so far.
func (w *Watch) Stalls() []Stall {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]Stall{}, w.stalls...)
}
