package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"sync"
	"sync/atomic"
	"time"

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
	retryMost  = 5 * time.Second
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
	// OnError is told of every attempt to write that failed and, once all of it
	// works again, nil. It is called by goroutines of Run, one at a time; nil means
	// nobody listens.
	OnError func(error)

	// The clocks and the disk; tests have their own.
	now      func() time.Time
	moment   func() moment
	openFile func(name string, flag int, perm os.FileMode) (*os.File, error)
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
	if out.openFile == nil {
		out.openFile = os.OpenFile
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
	file    *file // nil: it is lost; changed by Run alone
	lost    error // why a file was given up
	scale   scale // of the file's times
	pending pending
	trouble trouble
	syncing sync.Mutex // held while the file is synced or exchanged

	highest  atomic.Uint64 // epoch that was given
	atLeast  uint64        // what a record says is less counts as this
	promised promise       // by the file; Run's alone
	ending   bool          // no epoch is given any more; Run's alone

	written, transactions, rewrites, syncs, renewals atomic.Uint64
}

// Put notes that the binding is in force. It is urgent, and written before
// what can wait, unless it can only be one more use of a binding that never
// moved: that costs a restarted process no session.
func (s *Store) Put(b statefulroute.Binding) {
	s.noteEpoch(b.Epoch)
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
	// without those of Options.Sync. Renewals is how often a new file was begun
	// because somebody had spoilt the one before.
	Written, Transactions, Lost, Rewrites, Syncs, Renewals uint64
	// Trouble is why changes cannot be written at present; nil if they can.
	Trouble error
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
		Renewals:     s.renewals.Load(),
		Trouble:      s.trouble.present(),
	}
}

// Run writes changes until ctx ends, then the rest of them, as far as
// Options.FinishWithin goes, and closes the file. It must be called once. Its error is that of the last writes or of the
// closing; those in between are retried and told to OnError. Of all it takes
// every binding in force, to correct the file after changes were lost, and to
// write a new one when somebody has spoilt it.
func (s *Store) Run(ctx context.Context, all iter.Seq[statefulroute.Binding]) error {
	w := newWriter(s, all)
	defer w.close()
	looking := time.NewTicker(lookInterval)
	defer looking.Stop()
	w.looking = looking.C
	var syncing sync.WaitGroup
	if !s.options.Sync {
		syncing.Go(func() { s.syncUntil(ctx) })
	}
	_, err := w.writePromise() // more than the process before: new epochs are above that
	s.report(troubleWriting, err)
	for pause := retryFirst; w.wait(ctx); {
		err := w.catchUp(ctx)
		s.report(troubleWriting, err)
		if err == nil {
			pause = retryFirst
			continue
		}
		w.pause(ctx, pause)
		pause = min(2*pause, retryMost)
		s.pending.rouse()
	}
	syncing.Wait()
	w.look()
	return errors.Join(w.finish(), s.sync(), s.Close())
}

// finish writes all that is pending and urgent, and of what can wait as much as
// there is time for.
func (w *writer) finish() error {
	w.patientUntil = time.Now().Add(w.store.options.FinishWithin)
	if err := w.catchUp(context.Background()); err != nil {
		return err
	}
	w.store.ending = true
	_, err := w.writePromise()
	return err
}

// Close closes a store whose Run is never called. What is pending is lost.
func (s *Store) Close() error {
	if s.file == nil {
		return nil
	}
	return guard(s.file.db.Close)
}

// wait returns when a batch is due, or false when ctx has ended.
func (w *writer) wait(ctx context.Context) bool {
	for {
		select {
		case <-w.looking:
			w.look()
			if !w.store.promiseDue() {
				continue
			}
		case <-w.store.pending.wake:
			sleep(ctx, w.store.options.FlushInterval)
		case <-ctx.Done():
		}
		return ctx.Err() == nil
	}
}

// pause returns after d, or when there is a new file to write to.
func (w *writer) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-w.looking:
			if w.look() {
				return
			}
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
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
	s.syncing.Lock()
	defer s.syncing.Unlock()
	if s.file == nil {
		return nil // there will be another file, and another sync
	}
	if err := guard(s.file.db.Sync); err != nil {
		return fmt.Errorf("store: sync %s: %w", s.options.Path, err)
	}
	s.syncs.Add(1)
	return nil
}

// trouble is what does not work at present.
type trouble struct {
	mu  sync.Mutex
	now [3]error
}

const (
	troubleWriting = iota
	troubleSyncing
	troubleFile
)

func (t *trouble) present() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.presentLocked()
}

// presentLocked is one error: that a file is lost explains that it is not written.
func (t *trouble) presentLocked() error {
	return cmp.Or(t.now[troubleFile], t.now[troubleWriting], t.now[troubleSyncing])
}

// report tells OnError of what fails, and when nothing does any more.
func (s *Store) report(what int, err error) {
	s.trouble.mu.Lock()
	defer s.trouble.mu.Unlock()
	before := s.trouble.presentLocked()
	s.trouble.now[what] = err
	if present := s.trouble.presentLocked(); err != nil || before != nil && present == nil {
		s.options.OnError(present)
	}
}
