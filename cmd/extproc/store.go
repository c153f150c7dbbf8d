package main

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/affinity/store"
	"github.com/stateful-route/stateful-route/extproc"
	"github.com/stateful-route/stateful-route/insight/metrics"
)

// openStore opens the file that bindings outlive the process in, if there is
// one, and leaves what it held to restore.
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
	a.found = found.Bindings
	a.monitor.Persistence().Report(metrics.PersistedBindings, nil)
	return nil
}

// restore fills the table before anything is served, and has the store forget
// what the table did not take: expired bindings, and those it has no room for.
func (a *App) restore(context.Context) error {
	if a.store == nil {
		return nil
	}
	began := time.Now()
	n := a.table.Restore(a.found, began)
	if n < len(a.found) {
		a.forgetUnrestored(began)
	}
	a.log.Info("sessions restored", zap.String("store", memoryStore(a.opts.Config).Path), zap.Int("found", len(a.found)),
		zap.Int("restored", n), zap.Duration("took", time.Since(began)))
	a.found = nil
	return nil
}

// forgetUnrestored must be called before anything is served: a session that
// comes back may be bound again, and its new binding must stay.
func (a *App) forgetUnrestored(now time.Time) {
	for i := range a.found {
		b := &a.found[i]
		if _, ok := a.table.Peek(b.Service, b.Key, now); !ok {
			a.store.Delete(b.Service, b.Key)
		}
	}
}

// sessions is the table as the server and the admin API see it.
func (a *App) sessions() extproc.MemoryTable {
	t := extproc.MemoryTable{Table: a.table}
	if a.store != nil {
		t.Expedite = a.store.Expedite
	}
	return t
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
	if a.store == nil {
		return func() error { return nil }
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.store.Run(ctx, a.table.All()) }()
	return func() error {
		a.table.Checkpoint() // the file hears of most uses only now and then
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
}
