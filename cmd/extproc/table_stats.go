package main

import (
	"time"

	"github.com/stateful-route/stateful-route/affinity"
)

// tableJSON is the session table's part of /api/v1/stats.
type tableJSON struct {
	Strategy    string            `json:"strategy"`
	Mode        string            `json:"mode,omitempty"`
	Switches    uint64            `json:"switches"`
	Hits        uint64            `json:"hits"`
	Misses      uint64            `json:"misses"`
	HitRate     float64           `json:"hit_rate"`
	Size        int               `json:"size"`
	Capacity    int               `json:"capacity"`
	InUse       int               `json:"in_use"`
	Inserts     uint64            `json:"inserts"`
	Deletes     uint64            `json:"deletes"`
	Expirations uint64            `json:"expirations"`
	Evicted     uint64            `json:"evicted"`
	Evictions   map[string]uint64 `json:"evictions"`
	Rebinds     uint64            `json:"rebinds"`
	Moves       uint64            `json:"moves"`
	Refused     uint64            `json:"refused"`
	Recalls     uint64            `json:"recalls"`
	Broken      uint64            `json:"broken"`
	Store       *storeJSON        `json:"store,omitempty"`
	FastPath    *fastPathJSON     `json:"fast_path,omitempty"`
}

// storeJSON is how far the file is behind the table; nil without a file.
type storeJSON struct {
	Pending  int    `json:"pending"`
	Written  uint64 `json:"written"`
	Lost     uint64 `json:"lost"`
	Rewrites uint64 `json:"rewrites"`
	// Renewals counts new files that were begun because somebody had spoilt the
	// one before, Error says why changes cannot be written at present.
	Renewals uint64 `json:"renewals"`
	Error    string `json:"error,omitempty"`
}

// tableStats is what /api/v1/stats shows of the session table.
func (a *App) tableStats() any {
	a.harvest(time.Now())
	out := toTableJSON(a.table.Stats())
	out.FastPath = a.fastPathStats()
	if a.store != nil {
		s := a.store.Stats()
		out.Store = &storeJSON{Pending: s.Pending, Written: s.Written, Lost: s.Lost, Rewrites: s.Rewrites, Renewals: s.Renewals}
		if s.Trouble != nil {
			out.Store.Error = s.Trouble.Error()
		}
	}
	return out
}

func toTableJSON(s affinity.Stats) tableJSON {
	return tableJSON{
		Strategy: s.Strategy, Mode: s.Mode, Switches: s.Switches,
		Hits: s.Hits, Misses: s.Misses, HitRate: s.HitRate, Size: s.Size, Capacity: s.Capacity, InUse: s.InUse,
		Inserts: s.Inserts, Deletes: s.Deletes, Expirations: s.Expirations,
		Evicted: s.Evicted, Evictions: s.Evictions,
		Rebinds: s.Rebinds, Moves: s.Moves, Refused: s.Refused, Recalls: s.GhostRestores, Broken: s.Broken,
	}
}
