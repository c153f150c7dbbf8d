package main

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/affinity/store"
)

// restorer fills the table with the bindings that the store found. A service's are
// restored when its idle timeout becomes known, which tells the expired from the others,
// and that is before the service is served: a session that came back earlier would be
// bound anew.
type restorer struct {
	table *affinity.Table
	store *store.Store
	log   *zap.Logger

	mu              sync.Mutex
	waiting         map[string][]statefulroute.Binding // by service
	found, restored int
	took            time.Duration
}

// newRestorer also drops, of more bindings than the table has room for, the least
// recently seen.
func newRestorer(table *affinity.Table, file *store.Store, found []statefulroute.Binding, log *zap.Logger) *restorer {
	r := &restorer{table: table, store: file, log: log, waiting: map[string][]statefulroute.Binding{}, found: len(found)}
	if more := len(found) - table.Stats().Capacity; more > 0 {
		slices.SortFunc(found, func(a, b statefulroute.Binding) int { return a.LastSeen.Compare(b.LastSeen) })
		r.forget(found[:more])
		found = found[more:]
	}
	// A file has them by service; a copy of a million would double what they take.
	byService := func(a, b statefulroute.Binding) int {
		return cmp.Or(cmp.Compare(len(a.Service), len(b.Service)), cmp.Compare(a.Service, b.Service))
	}
	if !slices.IsSortedFunc(found, byService) {
		slices.SortFunc(found, byService)
	}
	for len(found) > 0 {
		service := found[0].Service
		n := slices.IndexFunc(found, func(b statefulroute.Binding) bool { return b.Service != service })
		if n < 0 {
			n = len(found)
		}
		r.waiting[service], found = found[:n], found[n:]
	}
	return r
}

// SetIdleTimeout implements extproc.IdleTimeouts.
func (r *restorer) SetIdleTimeout(service string, d time.Duration) {
	r.table.SetIdleTimeout(service, d)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.restoreLocked(service)
}

// finish restores what is left when all services are known: sessions of those that the
// configuration has no more, which may come back. They expire by the default.
func (r *restorer) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for service := range r.waiting {
		r.restoreLocked(service)
	}
	if r.store != nil {
		r.log.Info("sessions restored", zap.Int("found", r.found), zap.Int("restored", r.restored), zap.Duration("took", r.took))
	}
}

// restoreLocked has the store forget what the table does not take.
func (r *restorer) restoreLocked(service string) {
	bs := r.waiting[service]
	if len(bs) == 0 {
		return
	}
	began := time.Now()
	n := r.table.Restore(bs, began)
	if n < len(bs) {
		r.forget(slices.DeleteFunc(bs, func(b statefulroute.Binding) bool {
			_, taken := r.table.Peek(b.Service, b.Key, began)
			return taken
		}))
	}
	delete(r.waiting, service)
	r.restored += n
	r.took += time.Since(began)
}

func (r *restorer) forget(bs []statefulroute.Binding) {
	for i := range bs {
		r.store.Delete(bs[i].Service, bs[i].Key)
	}
}

// all yields every binding in force, those that wait first: one that is restored
// meanwhile may come twice, but is not missed.
func (r *restorer) all() iter.Seq[statefulroute.Binding] {
	return func(yield func(statefulroute.Binding) bool) {
		r.mu.Lock()
		waiting := slices.Concat(slices.Collect(maps.Values(r.waiting))...)
		r.mu.Unlock()
		for _, b := range waiting {
			if !yield(b) {
				return
			}
		}
		r.table.All()(yield)
	}
}
