package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	bolt "go.etcd.io/bbolt"
)

// The defaults of Options.
const (
	DefaultFlushInterval = 10 * time.Millisecond
	DefaultMaxPending    = 1 << 20
)

const (
	// maxBatch bounds one transaction, so that the first of many changes are
	// not written as late as the last.
	maxBatch = 2048
	// retryAfter is the pause after a failed write.
	retryAfter = time.Second
)

// Options configure a Store. Only Path is needed.
type Options struct {
	// Path is the file.
	Path string
	// FlushInterval is how long changes are gathered before they are written;
	// 0 means 10 ms. A killed process loses no older ones, given that the disk
	// takes the batches.
	FlushInterval time.Duration
	// MaxPending is the number of keys that may wait to be written; 0 means
	// 1,048,576. What comes on top is lost, and once the disk takes writes
	// again the whole file is written anew.
	MaxPending int
	// Sync waits for the disk after each batch, so that a power failure costs
	// no more than a killed process does.
	Sync bool
	// OnError is told that changes cannot be written, once until it works
	// again, and nil then. It is called by Run; nil means nobody listens.
	OnError func(error)
}

func (o *Options) withDefaults() Options {
	out := *o
	if out.FlushInterval == 0 {
		out.FlushInterval = DefaultFlushInterval
	}
	if out.MaxPending == 0 {
		out.MaxPending = DefaultMaxPending
	}
	if out.OnError == nil {
		out.OnError = func(error) {}
	}
	return out
}

func (o *Options) validate() error {
	switch {
	case o.Path == "":
		return errors.New("store: no path")
	case o.FlushInterval < 0:
		return fmt.Errorf("store: negative flush interval %s", o.FlushInterval)
	case o.MaxPending < 0:
		return fmt.Errorf("store: negative limit of pending changes %d", o.MaxPending)
	}
	return nil
}

// Store is an affinity.Journal that keeps bindings in a file.
type Store struct {
	options Options
	db      *bolt.DB // of Run, once that was called
	pending pending

	written, rewrites, lost atomic.Uint64
	failing                 bool // of Run
}

// Put notes that the binding is in force.
func (s *Store) Put(b statefulroute.Binding) {
	s.pending.note(changeKey{b.Service, b.Key}, change{&b})
}

// Delete notes that the key has no binding any more.
func (s *Store) Delete(service, key string) {
	s.pending.note(changeKey{service, key}, change{})
}

// Stats are counts since Open.
type Stats struct {
	// Pending is the number of keys that wait to be written now.
	Pending int
	// Written counts changes in the file, Lost those that found no room and
	// Rewrites how often the whole file was written for their sake.
	Written, Lost, Rewrites uint64
}

// Stats returns the counts.
func (s *Store) Stats() Stats {
	return Stats{
		Pending:  s.pending.size(),
		Written:  s.written.Load(),
		Lost:     s.lost.Load(),
		Rewrites: s.rewrites.Load(),
	}
}

// Run writes changes until ctx ends, then the rest of them, and closes the
// file. It must be called once. Its error is that of the last writes or of the
// closing; those in between are retried and told to OnError. Of all it takes
// every binding in force, to write the file anew after changes were lost.
func (s *Store) Run(ctx context.Context, all iter.Seq[statefulroute.Binding]) error {
	for s.wait(ctx) {
		if err := s.flush(all); err != nil {
			s.report(err)
			sleep(ctx, retryAfter)
			s.pending.rouse()
			continue
		}
		s.report(nil)
	}
	return errors.Join(s.flush(all), guard(s.db.Close))
}

// Close closes a store whose Run is never called. What is pending is lost.
func (s *Store) Close() error { return guard(s.db.Close) }

// wait returns when a batch is due, or false when ctx has ended.
func (s *Store) wait(ctx context.Context) bool {
	select {
	case <-s.pending.wake:
		sleep(ctx, s.options.FlushInterval)
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (s *Store) report(err error) {
	if failing := err != nil; failing != s.failing {
		s.failing = failing
		s.options.OnError(err)
	}
}

// flush writes what is pending, or everything if something was lost.
func (s *Store) flush(all iter.Seq[statefulroute.Binding]) error {
	changes, lost := s.pending.take()
	err := guard(func() error {
		if lost > 0 && all != nil {
			// Taken before all is read: what changes from now on is pending
			// again and overwrites what the rewrite saw.
			return s.rewrite(all)
		}
		return s.write(changes)
	})
	if err != nil {
		s.pending.giveBack(changes, lost)
		return err
	}
	s.written.Add(uint64(len(changes)))
	if lost > 0 && all != nil {
		s.lost.Add(lost)
		s.rewrites.Add(1)
	}
	return nil
}

// row is a change as it goes into the file; value is nil for a deletion.
type row struct{ key, value []byte }

func (s *Store) write(changes map[changeKey]change) error {
	rows := make([]row, 0, len(changes))
	for k, c := range changes {
		rows = append(rows, makeRow(k, c))
	}
	// In the order of the file, neighbours share pages.
	slices.SortFunc(rows, func(a, b row) int { return bytes.Compare(a.key, b.key) })
	for batch := range slices.Chunk(rows, maxBatch) {
		if err := s.db.Update(func(tx *bolt.Tx) error { return putRows(tx, batch) }); err != nil {
			return fmt.Errorf("store: write %s: %w", s.options.Path, err)
		}
	}
	return nil
}

func makeRow(k changeKey, c change) row {
	r := row{key: appendKey(nil, k.service, k.key)}
	if c.binding != nil {
		r.value = appendRecord(nil, r.key, c.binding)
	}
	return r
}

func putRows(tx *bolt.Tx, rows []row) error {
	b := tx.Bucket(bucket)
	for _, r := range rows {
		var err error
		if r.value == nil {
			err = b.Delete(r.key)
		} else {
			err = b.Put(r.key, r.value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// rewrite replaces the file's content in one transaction.
func (s *Store) rewrite(all iter.Seq[statefulroute.Binding]) error {
	var rows []row
	for b := range all {
		rows = append(rows, makeRow(changeKey{b.Service, b.Key}, change{&b}))
	}
	slices.SortFunc(rows, func(a, b row) int { return bytes.Compare(a.key, b.key) })
	err := s.db.Update(func(tx *bolt.Tx) error {
		if err := tx.DeleteBucket(bucket); err != nil {
			return err
		}
		if _, err := tx.CreateBucket(bucket); err != nil {
			return err
		}
		return putRows(tx, rows)
	})
	if err != nil {
		return fmt.Errorf("store: rewrite %s: %w", s.options.Path, err)
	}
	return nil
}
