package main

import (
	"time"

	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/extproc"
	"github.com/stateful-route/stateful-route/internal/procstat"
)

// usage returns what tells xds-server's analyzer how this process is doing.
func (a *App) usage() func(time.Time) extproc.Usage {
	process := procstat.NewReader("/")
	return func(now time.Time) extproc.Usage {
		s := a.table.Stats()
		u := extproc.Usage{TableSize: s.Size, TableCapacity: s.Capacity, Evictions: s.EvictedForRoom()}
		u.Unwritten = a.store != nil && a.store.Stats().Trouble != nil
		p, err := process.Read(now)
		if err != nil {
			a.log.Debug("own usage not known", zap.Error(err))
			return u
		}
		u.Memory, u.MemoryLimit, u.CPU, u.CPULimit = p.Memory, p.MemoryLimit, p.CPU, p.CPULimit
		return u
	}
}
