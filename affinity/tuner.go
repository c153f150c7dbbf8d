package affinity

import "sync"

// tuner shows an adaptive strategy what happened since it was last shown.
type tuner struct {
	strategy Strategy

	mu       sync.Mutex
	seen     Stats
	mode     string
	switches uint64
}

func (t *tuner) observe(st Stats, onSwitch func(from, to, why string)) {
	a, ok := t.strategy.(Adaptive)
	if !ok {
		return
	}
	t.mu.Lock()
	lookups := st.Hits + st.Misses - t.seen.Hits - t.seen.Misses
	from := t.mode
	to, why := a.Observe(Rates{Lookups: lookups, Hits: st.Hits - t.seen.Hits, Broken: st.Broken - t.seen.Broken})
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
