package extproc

import (
	"context"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Table is the session table a decision reads and writes. It may be another
// process's, so each call can fail: with [statefulroute.ErrGone],
// [statefulroute.ErrConflict], [statefulroute.ErrFull], [statefulroute.ErrPodLost],
// [statefulroute.ErrPodRefused] or [statefulroute.ErrChanging], which are answers, or with
// any other error, upon which the request is decided without the table, as the service's
// on_store_loss says.
type Table interface {
	// Lookup returns a session's binding, as far as it is known without asking anybody, and
	// renews it; ErrGone if none is known. With an error that says that nobody knows comes
	// the binding that was known last.
	Lookup(ctx context.Context, service, key string, now time.Time) (statefulroute.Binding, error)
	// Find returns a session's binding where Lookup knew none, whoever has to be asked;
	// ErrGone if there is none, and ErrPodLost as for Claim.
	Find(ctx context.Context, service, key string, now time.Time) (statefulroute.Binding, error)
	// Claim binds a session that has no binding. The first writer wins; the others get
	// the winner's binding with ErrConflict, or with ErrPodLost where its pod may not serve
	// it. ErrPodRefused: the pod takes no session, as where
	// it has most sessions already and that is not 0. ErrFull: there is no room for it.
	Claim(ctx context.Context, service, key, pod string, most uint32, now time.Time) (statefulroute.Binding, error)
	// Rebind replaces exactly the binding old, as Lookup, Claim or Rebind returned it, by
	// one to another pod with a higher epoch. Its epoch tells it from others of its key,
	// and its pod where it has none. Where there is another, that comes with ErrConflict;
	// ErrGone if there is none any more.
	Rebind(ctx context.Context, old statefulroute.Binding, to string, most uint32, now time.Time) (statefulroute.Binding, error)
	// Reassign is Rebind where the old pod is not lost: it serves until nobody knows the
	// old binding any more.
	Reassign(ctx context.Context, old statefulroute.Binding, to string, now time.Time) (statefulroute.Binding, error)
	// Remember keeps where a session was sent that nobody could be asked for, known or not.
	Remember(service, key, pod string, now time.Time)
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
	// Show has Envoys answer for a session themselves, where they can and while b is its
	// binding, and reports whether they do.
	Show(b statefulroute.Binding, now time.Time) bool
}
