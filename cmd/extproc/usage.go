package main

import (
	"time"

	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/internal/procstat"
)

// usage returns what tells xds-server's analyzer how this process is doing.
func (a *App) usage() func(time.Time) analysis.ReplicaSample {
	process := procstat.NewReader("/")
	return func(now time.Time) analysis.ReplicaSample {
		s := a.table.Stats()
		u := analysis.ReplicaSample{Size: s.Size, Capacity: s.Capacity, Evictions: s.EvictedForRoom()}
		u.Unwritten = a.store != nil && a.store.Stats().Trouble != nil
		if a.shared != nil {
			u.Store = analysis.StoreSample{
				State: string(a.shared.table.State()), Lease: a.shared.table.Left(), Conflicts: a.shared.table.Conflicts(),
			}
		}
		var err error
		if u.ProcessSample, err = process.Read(now); err != nil {
			a.log.Debug("own usage not known", zap.Error(err))
		}
		return u
	}
}
