package affinity

import (
	"sync"

	"github.com/stateful-route/stateful-route/affinity/evict"
)

// tuner shows an adaptive strategy what happened since it was last shown.
type tuner struct {
	strategy evict.Strategy

	mu       sync.Mutex
	seen     Stats
	mode     string
	switches uint64
}

func (t *tuner) observe(st Stats, onSwitch func(from, to, why string)) {
	a, ok := t.strategy.(evict.Adaptive)
	if !ok {
		return
	}
	t.mu.Lock()
	from := t.mode
	to, why := a.Observe(ratesBetween(t.seen, st))
	t.seen, t.mode = st, to
	if why != "" {
		t.switches++
	}
	t.mu.Unlock()
	if why != "" && onSwitch != nil {
		onSwitch(from, to, why)
	}
}

func (t *tuner) state() (mode string, switches uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mode, t.switches
}

func ratesBetween(a, b Stats) evict.Rates {
	return evict.Rates{
		Lookups: b.Hits + b.Misses - a.Hits - a.Misses,
		Hits:    b.Hits - a.Hits,
		Broken:  b.Broken - a.Broken,
		Inserts: b.Inserts - a.Inserts,
		Evicted: b.EvictedForRoom() - a.EvictedForRoom(),
	}
}
