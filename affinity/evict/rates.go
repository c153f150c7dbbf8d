package evict

// Rates are what happened in a table between two looks at it.
type Rates struct {
	// Lookups, and how many of them found a binding.
	Lookups, Hits uint64
	// Broken sessions: those that came back after they had been evicted or refused,
	// and of whose pod nothing was known.
	Broken uint64
	// Inserts of new bindings, and live bindings Evicted for want of room.
	Inserts, Evicted uint64
}

// HitRate is the share of lookups that found a binding; 0 without any.
func (r Rates) HitRate() float64 { return share(r.Hits, r.Lookups) }

// BrokenRate is broken sessions by lookups; 0 without any.
func (r Rates) BrokenRate() float64 { return share(r.Broken, r.Lookups) }

func share(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}
