package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/store"
)

// openStore opens the file that bindings outlive the process in, if there is
// one, and leaves what it held to restore.
func (a *App) openStore(context.Context) (err error) {
	path := storePath(a.opts.Config)
	if path == "" {
		return nil
	}
	var found store.Found
	a.store, found, err = store.Open(store.Options{Path: path, OnError: a.storeTrouble})
	if err != nil {
		return err
	}
	if found.Damage != nil {
		a.log.Error("the store was damaged; what could be read is used and the file kept aside",
			zap.Error(found.Damage), zap.String("aside", found.Aside))
	}
	a.found = found.Bindings
	return nil
}

// restore fills the table before anything is served, the least recently used
// first, as the table wants it.
func (a *App) restore(context.Context) error {
	if a.store == nil {
		return nil
	}
	began := time.Now()
	slices.SortFunc(a.found, func(x, y statefulroute.Binding) int { return x.LastSeen.Compare(y.LastSeen) })
	n := a.table.Restore(a.found, began)
	a.log.Info("sessions restored", zap.String("store", storePath(a.opts.Config)), zap.Int("found", len(a.found)),
		zap.Int("restored", n), zap.Duration("took", time.Since(began)))
	a.found = nil
	return nil
}

// storeTrouble reports that changes cannot be written, and when they can again.
func (a *App) storeTrouble(err error) {
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
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}
}
