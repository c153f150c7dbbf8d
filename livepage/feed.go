package livepage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

const (
	// lookInterval is how often the state is assembled while somebody watches; a change
	// is sent at most this much later.
	lookInterval = 250 * time.Millisecond
	// minInterval is the least time between two states sent.
	minInterval = time.Second
	// heartbeat is the most: a page that hears nothing for longer knows that its
	// figures are old.
	heartbeat = 3 * time.Second
)

// snapshot is what a stream has to show at one moment. Versions grow with each
// new content.
type snapshot struct {
	stateVersion, chartVersion uint64
	state, chart               []byte
}

// feed decides when there is something new to send, once for all streams.
type feed struct {
	assemble func(now time.Time) State
	history  *history

	mu     sync.Mutex
	newest snapshot
	shape  []byte    // the newest state without its ages
	looked time.Time // when the state was assembled last
	sent   time.Time // when the newest state was made
}

// at returns what a stream should show at now.
func (f *feed) at(now time.Time) (snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.looked) < lookInterval {
		return f.newest, nil
	}
	if err := f.lookAtStateLocked(now); err != nil {
		return snapshot{}, fmt.Errorf("live page: state: %w", err)
	}
	if err := f.lookAtChartLocked(); err != nil {
		return snapshot{}, fmt.Errorf("live page: charts: %w", err)
	}
	f.looked = now
	return f.newest, nil
}

func (f *feed) lookAtStateLocked(now time.Time) error {
	since := now.Sub(f.sent)
	if since < minInterval {
		return nil
	}
	state := f.assemble(now).withEmptyLists()
	shape, err := json.Marshal(state.withoutAges())
	if err != nil {
		return err
	}
	if since < heartbeat && bytes.Equal(shape, f.shape) {
		return nil
	}
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	f.newest.state, f.shape, f.sent = text, shape, now
	f.newest.stateVersion++
	return nil
}

func (f *feed) lookAtChartLocked() error {
	if f.newest.chart != nil && f.history.current() == f.newest.chartVersion {
		return nil
	}
	chart, version := f.history.chart()
	text, err := json.Marshal(chart)
	if err != nil {
		return err
	}
	f.newest.chart, f.newest.chartVersion = text, version
	return nil
}
