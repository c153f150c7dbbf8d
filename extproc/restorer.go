package extproc

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
)

// Restorer fills the table with the bindings that a file kept. A service's are
// restored when its idle timeout becomes known, which tells the expired from the others,
// and that is before the service is served: a session that came back earlier would be
// bound anew.
type Restorer struct {
	table  *affinity.Table
	forget func(service, key string)
	log    *zap.Logger

	mu              sync.Mutex
	waiting         map[string][]statefulroute.Binding // by service
	found, restored int
	took            time.Duration
}

// NewRestorer returns a Restorer of the found bindings, which are its own from now on. It
// has forget called with those that the table does not take, and drops at once, of more
// than it has room for, the least recently seen. Without a file forget is nil.
func NewRestorer(table *affinity.Table, forget func(service, key string), found []statefulroute.Binding, log *zap.Logger) *Restorer {
	r := &Restorer{table: table, forget: forget, log: log, waiting: map[string][]statefulroute.Binding{}, found: len(found)}
	if more := len(found) - table.Stats().Capacity; more > 0 {
		slices.SortFunc(found, func(a, b statefulroute.Binding) int { return a.LastSeen.Compare(b.LastSeen) })
		r.forgetAll(found[:more])
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

// SetIdleTimeout implements IdleTimeouts.
func (r *Restorer) SetIdleTimeout(service string, d time.Duration) {
	r.table.SetIdleTimeout(service, d)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.restoreLocked(service)
}

// Finish restores what is left when all services are known: sessions of those that the
// configuration has no more, which may come back. They expire by the default.
func (r *Restorer) Finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for service := range r.waiting {
		r.restoreLocked(service)
	}
	if r.forget != nil {
		r.log.Info("sessions restored", zap.Int("found", r.found), zap.Int("restored", r.restored), zap.Duration("took", r.took))
	}
}

func (r *Restorer) restoreLocked(service string) {
	bs := r.waiting[service]
	if len(bs) == 0 {
		return
	}
	began := time.Now()
	n := r.table.Restore(bs, began)
	if n < len(bs) {
		r.forgetAll(slices.DeleteFunc(bs, func(b statefulroute.Binding) bool {
			_, taken := r.table.Peek(b.Service, b.Key, began)
			return taken
		}))
	}
	delete(r.waiting, service)
	r.restored += n
	r.took += time.Since(began)
}

func (r *Restorer) forgetAll(bs []statefulroute.Binding) {
	for i := range bs {
		r.forget(bs[i].Service, bs[i].Key)
	}
}

// All yields every binding in force, those that wait first: one that is restored
// meanwhile may come twice, but is not missed.
func (r *Restorer) All() iter.Seq[statefulroute.Binding] {
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
