package store

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	statefulroute "github.com/stateful-route/stateful-route"
)

// The defaults of Options.
const (
	DefaultFlushInterval = 10 * time.Millisecond
	DefaultSyncInterval  = time.Second
	DefaultMaxPending    = 1 << 20
	DefaultFinishWithin  = 300 * time.Millisecond
)

const (
	// retryFirst is the pause after a failed write. It doubles with each
	// further failure in a row, up to retryMost.
	retryFirst = time.Second
	retryMost  = 30 * time.Second
)

// Options configure a Store. Only Path is needed.
type Options struct {
	// Path is the file.
	Path string
	// FlushInterval is how long changes are gathered before they are written;
	// 0 means 10 ms. A killed process loses no older ones that are urgent (see
	// Put), given that the disk takes the batches.
	FlushInterval time.Duration
	// MaxPending is the number of keys that may wait to be written; 0 means
	// 1,048,576. What comes on top is lost, and once the disk takes writes
	// again the whole file is compared with the table and corrected.
	MaxPending int
	// SyncInterval is how often what was written is forced from the kernel to
	// the disk, beside the writing; 0 means 1 s. It is done at the end, too.
	SyncInterval time.Duration
	// Sync waits for the disk in each batch instead, so that a power failure
	// costs no more than a killed process does.
	Sync bool
	// FinishWithin is how long Run writes, at its end, what can wait (see Put); 0
	// means 300 ms. What is urgent is written whatever it takes. The next process
	// waits for the file: late uses and deletions are not worth that.
	FinishWithin time.Duration
	// OnError is told that changes cannot be written, once until it works
	// again, and nil then. It is called by goroutines of Run, one at a time;
	// nil means nobody listens.
	OnError func(error)

	// The clocks; tests have their own.
	now    func() time.Time
	moment func() moment
}

func (o *Options) withDefaults() Options {
	out := *o
	if out.FlushInterval == 0 {
		out.FlushInterval = DefaultFlushInterval
	}
	if out.SyncInterval == 0 {
		out.SyncInterval = DefaultSyncInterval
	}
	if out.MaxPending == 0 {
		out.MaxPending = DefaultMaxPending
	}
	if out.FinishWithin == 0 {
		out.FinishWithin = DefaultFinishWithin
	}
	if out.OnError == nil {
		out.OnError = func(error) {}
	}
	if out.moment == nil {
		out.now, out.moment = time.Now, readMoment
	}
	return out
}

func (o *Options) validate() error {
	switch {
	case o.Path == "":
		return errors.New("store: no path")
	case o.FlushInterval < 0:
		return fmt.Errorf("store: negative flush interval %s", o.FlushInterval)
	case o.SyncInterval < 0:
		return fmt.Errorf("store: negative sync interval %s", o.SyncInterval)
	case o.FinishWithin < 0:
		return fmt.Errorf("store: negative time to finish %s", o.FinishWithin)
	case o.MaxPending < 0:
		return fmt.Errorf("store: negative limit of pending changes %d", o.MaxPending)
	}
	return nil
}

// Store is an affinity.Journal that keeps bindings in a file.
type Store struct {
	options Options
	db      *bolt.DB
	scale   scale // of the file's times
	pending pending
	trouble trouble

	written, transactions, rewrites, syncs atomic.Uint64
}

// Put notes that the binding is in force. It is urgent, and written before
// what can wait, unless it can only be one more use of a binding that never
// moved: that costs a restarted process no session.
func (s *Store) Put(b statefulroute.Binding) {
	use := b.Requests > 1 && b.PreviousPod == ""
	s.pending.note(changeKey{b.Service, b.Key}, change{&b, !use})
}

// Delete notes that the key has no binding any more. It can wait: nearly all
// deletions are of bindings that expired, thousands at once.
func (s *Store) Delete(service, key string) {
	s.pending.note(changeKey{service, key}, change{})
}

// Expedite makes the pending change of a key, if there is one, urgent: such as
// a deletion that somebody asked for.
func (s *Store) Expedite(service, key string) {
	s.pending.expedite(changeKey{service, key})
}

// Stats are counts since Open.
type Stats struct {
	// Pending is the number of keys that wait to be written now.
	Pending int
	// Written counts changes in the file, Transactions the batches they went in,
	// Lost those that found no room and Rewrites how often the whole file was
	// corrected for their sake. Syncs is how often it was forced to the disk,
	// without those of Options.Sync.
	Written, Transactions, Lost, Rewrites, Syncs uint64
}

// Stats returns the counts.
func (s *Store) Stats() Stats {
	size, lost := s.pending.state()
	return Stats{
		Pending:      size,
		Written:      s.written.Load(),
		Transactions: s.transactions.Load(),
		Lost:         lost,
		Rewrites:     s.rewrites.Load(),
		Syncs:        s.syncs.Load(),
	}
}

// Run writes changes until ctx ends, then the rest of them, as far as
// Options.FinishWithin goes, and closes the file. It must be called once. Its error is that of the last writes or of the
// closing; those in between are retried and told to OnError. Of all it takes
// every binding in force, to correct the file after changes were lost.
func (s *Store) Run(ctx context.Context, all iter.Seq[statefulroute.Binding]) error {
	w := newWriter(s, all)
	defer w.close()
	var syncing sync.WaitGroup
	if !s.options.Sync {
		syncing.Go(func() { s.syncUntil(ctx) })
	}
	for pause := retryFirst; s.wait(ctx); {
		err := w.catchUp(ctx)
		s.report(troubleWriting, err)
		if err == nil {
			pause = retryFirst
			continue
		}
		sleep(ctx, pause)
		pause = min(2*pause, retryMost)
		s.pending.rouse()
	}
	syncing.Wait()
	return errors.Join(w.finish(), s.sync(), guard(s.db.Close))
}

// finish writes all that is pending and urgent, and of what can wait as much as
// there is time for.
func (w *writer) finish() error {
	w.patientUntil = time.Now().Add(w.store.options.FinishWithin)
	return w.catchUp(context.Background())
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

// syncUntil forces what was written to the disk, now and then until ctx ends.
// It does so beside the writer, whose changes need not be on the disk to outlive
// the process.
func (s *Store) syncUntil(ctx context.Context) {
	tick := time.NewTicker(s.options.SyncInterval)
	defer tick.Stop()
	for synced := uint64(0); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := s.transactions.Load()
		if now == synced {
			continue
		}
		if err := s.sync(); err != nil {
			// For good: the kernel tells once of what it could not write, and
			// forgets it. The next sync succeeds, and means nothing.
			s.report(troubleSyncing, err)
		}
		synced = now
	}
}

func (s *Store) sync() error {
	if err := guard(s.db.Sync); err != nil {
		return fmt.Errorf("store: sync %s: %w", s.options.Path, err)
	}
	s.syncs.Add(1)
	return nil
}

// trouble is what does not work at present.
type trouble struct {
	mu  sync.Mutex
	now [2]bool
}

const (
	troubleWriting = iota
	troubleSyncing
)

// report tells OnError of the first thing that fails, and when nothing does any
// more.
func (s *Store) report(what int, err error) {
	s.trouble.mu.Lock()
	defer s.trouble.mu.Unlock()
	before := s.trouble.now
	s.trouble.now[what] = err != nil
	if failing := s.trouble.now != [2]bool{}; failing != (before != [2]bool{}) {
		s.options.OnError(err)
	}
}
