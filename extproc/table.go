package extproc

import (
	"context"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Table is the session table a decision reads and writes. It may be another
// process's, so each call can fail: with [statefulroute.ErrGone],
// [statefulroute.ErrConflict] or [statefulroute.ErrFull], which are answers, or with
// any other error, upon which the request is decided without the table.
type Table interface {
	// Lookup returns a session's binding and renews it; ErrGone if there is none.
	Lookup(ctx context.Context, service, key string, now time.Time) (statefulroute.Binding, error)
	// Claim binds a session that has no binding. The first writer wins; the others get
	// the winner's binding with ErrConflict. ErrFull: there is no room for it.
	Claim(ctx context.Context, service, key, pod string, now time.Time) (statefulroute.Binding, error)
	// Rebind replaces exactly the binding old, as Lookup, Claim or Rebind returned it, by
	// one to another pod with a higher epoch. Its epoch tells it from others of its key,
	// and its pod where it has none. Where there is another, that comes with ErrConflict;
	// ErrGone if there is none any more.
	Rebind(ctx context.Context, old statefulroute.Binding, to string, now time.Time) (statefulroute.Binding, error)
	// GiveUp evicts a session of the pod that was used only once, and reports whether
	// that was done.
	GiveUp(ctx context.Context, service, pod string, now time.Time) bool
	// End forgets exactly the binding old, as Rebind does; ErrGone if that is not in force.
	End(ctx context.Context, old statefulroute.Binding, now time.Time) error
	// Hold says that a request of a session has begun. Until Release was called as often,
	// the session is in use: bound or not yet, it is not idle. Neither waits for anybody,
	// nor fails: without them a session is idle when its last request began too long ago.
	Hold(service, key string, now time.Time)
	// Release says that a request has ended for which Hold was called.
	Release(service, key string, now time.Time)
}
