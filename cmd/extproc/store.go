package main

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/affinity/store"
	"github.com/stateful-route/stateful-route/extproc"
	"github.com/stateful-route/stateful-route/extproc/admin"
	"github.com/stateful-route/stateful-route/insight/metrics"
)

// openStore opens the file that bindings outlive the process in, if there is
// one, and leaves what it held to the restorer.
func (a *App) openStore(context.Context) (err error) {
	c := memoryStore(a.opts.Config)
	if c.Path == "" {
		return nil
	}
	var found store.Found
	a.store, found, err = store.Open(store.Options{
		Path: c.Path, Sync: c.Sync == 0, SyncInterval: c.Sync, OnError: a.storeTrouble,
	})
	if err != nil {
		return err
	}
	if found.Damage != nil {
		a.log.Error("the store was damaged; what could be read is used and the file kept aside",
			zap.Error(found.Damage), zap.String("aside", found.Aside))
	}
	a.found, a.epochsAbove = found.Bindings, found.EpochsAbove
	a.monitor.Persistence().Report(metrics.PersistedBindings, nil)
	return nil
}

// sessionTable is the table as the server and the admin API see it.
type sessionTable interface {
	extproc.Table
	admin.Lister
	admin.Editor
}

// sessions is the table of all replicas that share one.
func (a *App) sessions() sessionTable {
	if a.shared != nil {
		return a.shared.table
	}
	return a.memory()
}

// memory is the table of this process alone.
func (a *App) memory() extproc.MemoryTable {
	t := extproc.MemoryTable{Table: a.table}
	if a.store != nil {
		t.Expedite = a.store.Expedite
	}
	return t
}

func (a *App) idleTimeouts() extproc.IdleTimeouts {
	if a.shared != nil {
		return knownServices{a.shared}
	}
	return a.restorer
}

// podSessions counts the sessions that pods have, at all replicas.
func (a *App) podSessions() extproc.SessionCounter {
	if a.shared != nil {
		return a.shared.table
	}
	return a.table
}

// reportedSessions counts those that this process tells of.
func (a *App) reportedSessions() extproc.SessionCounter {
	if a.shared != nil {
		return a.shared.reported()
	}
	return a.table
}

// storeTrouble keeps the state that bindings cannot be written, and logs when it
// begins, changes and ends.
func (a *App) storeTrouble(err error) {
	a.monitor.Persistence().Report(metrics.PersistedBindings, err)
	said := ""
	if err != nil {
		said = err.Error()
	}
	if before := a.storeSaid.Swap(&said); before != nil && *before == said {
		return
	}
	if err != nil {
		a.log.Error("the store cannot be written: a restart would lose what changes now", zap.Error(err))
		return
	}
	a.log.Info("the store can be written again")
}

// keep runs the store and returns what ends it. It must outlive every writer,
// so it does not end with the process's context.
func (a *App) keep() (stop func() error) {
	if a.shared != nil {
		stop := a.shared.run(a.log)
		return func() error { return errors.Join(a.leaveFastPath(false), stop()) }
	}
	if a.store == nil {
		return func() error { return a.leaveFastPath(true) }
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.store.Run(ctx, a.restorer.All()) }()
	return func() error {
		a.table.Checkpoint(time.Now()) // the file hears of most uses only now and then
		left := a.leaveFastPath(true)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			return errors.Join(left, err)
		}
		return left
	}
}
