package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/fastpath"
)

// fastPath is what an extproc has whose Envoys answer for known sessions themselves.
type fastPath struct {
	table *fastpath.Table
	path  string

	harvesting sync.Mutex // one harvest after the other
	harvested  []podUse
}

type podUse struct {
	service, pod string
	use          fastpath.PodUse
}

const (
	// fastPathPods and fastPathServices are what a table has room for; the sessions of more
	// come here. Room for a pod is taken when it comes: with a million sessions and some hundred
	// pods it takes 30 MB, so that two of them, as there are during a restart, find room in the 64 MB of
	// shared memory that a container usually has.
	fastPathPods     = 16_384
	fastPathServices = 1024
)

// buildFastPath makes the table that Envoys read, where the configuration names one. One that
// cannot be made is no reason not to serve; but then nobody may go on by what an earlier
// process has left.
func (a *App) buildFastPath(context.Context) error {
	path := a.opts.Config.FastPath.Table
	if path == "" {
		return nil
	}
	if err := replaceable(path); err != nil {
		return err
	}
	table, err := fastpath.Create(fastpath.Options{
		Path: path, Capacity: a.opts.Config.Affinity.Capacity, Pods: fastPathPods, Services: fastPathServices,
	})
	if err != nil {
		a.log.Error("there is no fast path: all requests come to this process", zap.String("table", path), zap.Error(err))
		return fastpath.Retire(path)
	}
	a.fast = &fastPath{table: table, path: path}
	if a.opts.Config.Store.Valkey != nil {
		table.SetLease(0) // until there is one
	}
	table.SetTracing(a.tracer.Sampling())
	a.log.Info("Envoys on this machine that have the module answer for known sessions themselves", zap.String("table", path))
	return a.monitor.FastPath(table.Results, table.Bindings)
}

// replaceable reports what would keep this process from ending the use of what an earlier
// one has left: by it sessions would go on to pods that are not theirs any more.
func replaceable(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("fast_path.table: an earlier process's cannot be retired: %w", err)
	}
	return f.Close()
}

// Show implements affinity.Mirror.
func (f *fastPath) Show(service, key, pod string, age time.Duration, id uint64) bool {
	return f.table.Publish(service, key, pod, age, id)
}

// Withdraw implements affinity.Mirror.
func (f *fastPath) Withdraw(service, key string) { f.table.Withdraw(service, key) }

// Used implements affinity.Mirror.
func (f *fastPath) Used(service, key string) (n uint32, age time.Duration, ok bool) {
	return f.table.TakeUse(service, key)
}

// Recent implements affinity.Mirror.
func (f *fastPath) Recent(to []uint64, part, parts int, within time.Duration) []uint64 {
	return f.table.Recent(to, part, parts, within)
}

// restoredFirst has the table, when it is activated, have what was restored: Envoy may need a
// while until it finds this process, and sessions that were bound go on meanwhile. New
// sessions wait for it, so that of a million those that find no time are shown by their
// next requests.
type restoredFirst struct {
	*fastpath.Table
	sessions *affinity.Table
}

// Activate implements extproc.FastPath.
func (r restoredFirst) Activate() error {
	began, n := time.Now(), 0
	now := began
	for b := range r.sessions.All() {
		r.sessions.Show(b, now)
		if n++; n%1024 != 0 {
			continue
		}
		// By a clock that stood still sessions would look as if they had been used since.
		if now = time.Now(); now.Sub(began) > showRestoredWithin {
			break
		}
	}
	return r.Table.Activate()
}

// showRestoredWithin has room for a million sessions, which take 1.5 s of CPU, on a machine that
// is busy with other things: those that are left out are refused until Envoy has found this
// process.
const showRestoredWithin = 5 * time.Second

// harvest takes over what Envoys have counted. Metrics are made of it without the table's
// lock, for which sessions wait.
func (a *App) harvest(now time.Time) {
	f := a.fast
	if f == nil {
		return
	}
	f.harvesting.Lock()
	defer f.harvesting.Unlock()
	f.harvested = f.harvested[:0]
	f.table.Harvest(func(service, pod string, u *fastpath.PodUse) {
		f.harvested = append(f.harvested, podUse{service, pod, *u})
	})
	hits := uint64(0)
	for i := range f.harvested {
		u := &f.harvested[i]
		hits += a.directory.Served(now, u.service, u.pod, &u.use)
	}
	if hits > 0 {
		a.table.CountHits(hits)
	}
}

// harvested has a scrape see all requests that have ended.
func (a *App) harvested(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.harvest(time.Now())
		h.ServeHTTP(w, r)
	})
}

// leaveFastPath ends the writing of the table, when no binding changes any more. With leave,
// Envoys go on by it until the next process has activated its own: what is bound stays so,
// for nobody else can change it. Else others may, as soon as this process has left them.
func (a *App) leaveFastPath(leave bool) error {
	if a.fast == nil {
		return nil
	}
	a.harvest(time.Now())
	return a.fast.table.Close(leave)
}

// fastPathJSON is how Envoys use the table; nil without one.
type fastPathJSON struct {
	Table    string            `json:"table"`
	Bindings int               `json:"bindings"`
	Envoys   int               `json:"envoys"` // processes that read it
	Requests map[string]uint64 `json:"requests"`
}

func (a *App) fastPathStats() *fastPathJSON {
	if a.fast == nil {
		return nil
	}
	t := a.fast.table
	return &fastPathJSON{Table: a.fast.path, Bindings: t.Bindings(), Envoys: len(t.Readers()), Requests: t.Results()}
}
