package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	statefulroute "github.com/stateful-route/stateful-route"
)

// batches bound the steps of a writer.
type batches struct {
	// urgent bounds a transaction of changes that somebody waits for, patient
	// one of those that can wait: that is what the former wait for behind it.
	urgent, patient int
	// sort is how many keys or half as many bindings are sorted at a time.
	sort int
	// look bounds the records that a step of a rewrite looks at.
	look int
}

// A step of these takes milliseconds. Rows in no order cost 15 to 20 µs each in
// a file of a million, for each has a page of its own, and neighbours 2 µs.
var usualBatches = batches{urgent: 1024, patient: 512, sort: 4096, look: 2048}

// writer writes what is pending. It belongs to one goroutine.
type writer struct {
	store *Store
	all   iter.Seq[statefulroute.Binding] // every binding in force; nil if not known
	batches

	unsorted    []changeKey
	patientKeys runs[changeKey] // in the order of the file, so that neighbours meet
	rewrite     *rewrite        // nil: none under way

	looking  <-chan time.Time // when to look at the file
	renewing bool             // the file is new and lacks what a rewrite will bring

	patientUntil time.Time // what can wait is not written any more then; zero: it is
}

func newWriter(s *Store, all iter.Seq[statefulroute.Binding]) *writer {
	return &writer{store: s, all: all, batches: usualBatches, patientKeys: newRuns(func(a, b changeKey) int {
		return cmp.Or(strings.Compare(a.service, b.service), strings.Compare(a.key, b.key))
	})}
}

// steps are what the writer does in turn. Each is at most one transaction, and
// says whether there is more of its kind. An urgent change is never behind more
// than one transaction of another kind.
func (w *writer) steps() []func() (more bool, err error) {
	return []func() (bool, error){w.writeUrgent, w.writePatient, w.writeUrgent, w.continueRewrite, w.writePromise}
}

// catchUp writes until little or nothing is pending, or ctx ends: what remains
// is worth being gathered first.
func (w *writer) catchUp(ctx context.Context) error {
	for again := true; again; {
		again = false
		for _, step := range w.steps() {
			select {
			case <-ctx.Done():
				return nil
			default:
			}
			w.lookIfDue()
			more, err := step()
			if err != nil {
				return err
			}
			again = again || more
			runtime.Gosched() // to requests that wait for a processor
		}
	}
	return nil
}

func (w *writer) writeUrgent() (more bool, err error) {
	changes := w.store.pending.takeUrgent(w.urgent)
	return len(changes) == w.urgent, w.store.write(changes)
}

// writePatient sorts some of what can wait or, if that is done, writes some.
func (w *writer) writePatient() (more bool, err error) {
	if !w.patientUntil.IsZero() && time.Now().After(w.patientUntil) {
		return false, nil
	}
	if w.unsorted = append(w.unsorted, w.store.pending.takePatient()...); len(w.unsorted) > 0 {
		n := min(len(w.unsorted), w.sort)
		w.patientKeys.push(w.unsorted[:n:n])
		if w.unsorted = w.unsorted[n:]; len(w.unsorted) > 0 {
			return true, nil
		}
		w.unsorted = nil
	}
	changes := w.store.pending.take(w.patientKeys.pop(w.patient))
	return !w.patientKeys.empty(), w.store.write(changes)
}

// continueRewrite goes on with a rewrite of the file, or begins one if that has
// become necessary. One that fails goes on where it was.
func (w *writer) continueRewrite() (more bool, err error) {
	if w.rewrite == nil {
		if w.all == nil || !w.store.pending.beginRewrite() {
			return false, nil
		}
		w.rewrite = newRewrite(w.store, w.all, w.batches)
	}
	done, err := w.rewrite.step()
	if !done || err != nil {
		return true, err
	}
	w.rewrite = nil
	w.store.pending.endRewrite()
	w.store.rewrites.Add(1)
	w.renewing = false
	w.store.report(troubleFile, nil)
	return true, nil // perhaps changes were lost again
}

// close frees what an unfinished rewrite holds.
func (w *writer) close() {
	if w.rewrite != nil {
		w.rewrite.stop()
		w.rewrite = nil
	}
}

// look makes sure that the file is there. After a new one was begun, the old is
// told of until all is written into the new.
func (w *writer) look() (renewed bool) {
	s := w.store
	renewed, err := s.look()
	switch {
	case err != nil:
		s.report(troubleFile, err)
	case renewed:
		s.report(troubleFile, fmt.Errorf("store: %s: %w: it is being written anew", s.options.Path, s.lost))
		w.renewing = w.all != nil
		if w.rewrite != nil {
			w.close()
			s.pending.endRewrite()
		}
	}
	if err == nil && !w.renewing {
		s.report(troubleFile, nil)
	}
	return renewed
}

// lookIfDue looks at the file now and then.
func (w *writer) lookIfDue() {
	select {
	case <-w.looking:
		w.look()
	default:
	}
}

// row is a change as it goes into the file; value is nil for a deletion.
type row struct{ key, value []byte }

func compareRows(a, b row) int { return bytes.Compare(a.key, b.key) }

func makeRow(k changeKey, b *statefulroute.Binding, s *scale) row {
	r := row{key: recordKey(k.service, k.key)}
	if b != nil {
		r.value = recordValue(r.key, b, s)
	}
	return r
}

// write writes changes in one transaction, or gives them back.
func (s *Store) write(changes []keyedChange) error {
	if len(changes) == 0 {
		return nil
	}
	rows := make([]row, len(changes))
	for i, c := range changes {
		rows[i] = makeRow(c.changeKey, c.binding, &s.scale)
	}
	slices.SortFunc(rows, compareRows)
	if err := s.update(func(b *bolt.Bucket) error { return putRows(b, rows) }); err != nil {
		s.pending.giveBack(changes)
		return err
	}
	s.written.Add(uint64(len(changes)))
	return nil
}

// update is one transaction. One that a fault interrupts ends the file's use: the
// locks inside bbolt may be held for ever.
func (s *Store) update(f func(*bolt.Bucket) error) error {
	if s.file == nil {
		return fmt.Errorf("store: %s is lost: %w", s.options.Path, s.lost)
	}
	var id uint64
	var promised promise
	err := guard(func() error {
		return s.file.db.Update(func(tx *bolt.Tx) error {
			id = uint64(tx.ID())
			if err := keepMark(tx, s.scale.mark(s.options.now())); err != nil {
				return err
			}
			var err error
			if promised, err = s.keepPromise(tx); err != nil {
				return err
			}
			return f(tx.Bucket(bucket))
		})
	})
	if err == nil {
		s.promised = promised
		s.transactions.Add(1)
	}
	if id > 0 && !errors.Is(err, errFault) {
		err = errors.Join(err, s.file.remember(id))
	}
	if isSpoilt(err) {
		s.giveUp(err)
	}
	return s.wrap("write", err)
}

func putRows(b *bolt.Bucket, rows []row) error {
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
