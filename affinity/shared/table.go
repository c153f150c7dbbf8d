package shared

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// Local is a replica's own table, an *affinity.Table.
type Local interface {
	Lookup(service, key string, now time.Time) (statefulroute.Binding, bool)
	Peek(service, key string, now time.Time) (statefulroute.Binding, bool)
	// Apply keeps a binding as the store has it, unless it has one that is as new.
	Apply(b statefulroute.Binding, now time.Time) (applied bool, err error)
	Delete(service, key string) bool
	DropPod(service, pod string) int
	Hold(service, key string, now time.Time)
	Release(service, key string, now time.Time)
	Show(b statefulroute.Binding, now time.Time) bool
	SetIdleTimeout(service string, d time.Duration)
	All() iter.Seq[statefulroute.Binding]
}

// Table is the session table of one replica. Its methods may be called concurrently. Until
// Run is called, and while the store does not answer, it knows of no session that it may
// answer for.
type Table struct {
	opts  Options
	local Local
	uses  *Uses
	lease lease
	calls calls
	waits waits

	// now is the incarnation in force; nil until the first was found.
	now atomic.Pointer[incarnation]
	// follows says that this replica was registered, and has the log since then. Before it
	// keeps nothing, for it would not hear that it has to forget it.
	follows atomic.Bool
	// keeping excludes that a reply is kept while an entry of the log is acted on.
	keeping sync.RWMutex
	fences  map[PodName]fence // guarded by keeping

	voting sync.Mutex
	votes  map[PodName]*vote // pods that this replica found lost

	ending  sync.Mutex
	unended []unended // changes that were begun and not ended yet

	counts atomic.Pointer[map[PodName]int]
	roll   atomic.Pointer[roll]
	reach  atomic.Pointer[reach]

	conflicts    atomic.Uint64
	lastConflict atomic.Pointer[time.Time]
	highest      atomic.Uint64 // epoch that was seen

	opened    chan struct{}
	openedOne sync.Once
	// renewSoon has the lease be renewed at once: it may begin, or the store has become another one.
	renewSoon chan struct{}
}

// incarnation is the store as this replica is attached to it.
type incarnation struct {
	arbiter Arbiter
	seen    time.Duration // since when, by the monotonic clock
	over    chan struct{} // closed when another one is in force

	registered    chan struct{} // closed when this replica has joined it
	registeredOne sync.Once
}

func newIncarnation(a Arbiter, seen time.Duration) *incarnation {
	return &incarnation{arbiter: a, seen: seen, over: make(chan struct{}), registered: make(chan struct{})}
}

// passes returns what is waited for after an incarnation's answer that says no more than that
// it, or this replica's part in it, begins or has ended; nil where that is all there is to say.
func (at *incarnation) passes(err error) <-chan struct{} {
	switch {
	case errors.Is(err, ErrLost):
		return at.over
	case errors.Is(err, ErrUnregistered):
		select {
		case <-at.registered: // it was, and was taken off
		default:
			return at.registered
		}
	}
	return nil
}

type fence struct {
	position uint64 // in the log
	lifted   bool
}

// New returns a Table, which Run has answer.
func New(o Options) (*Table, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	t := &Table{opts: o, local: o.Local, uses: o.Uses, fences: map[PodName]fence{}, votes: map[PodName]*vote{}, opened: make(chan struct{}), renewSoon: make(chan struct{}, 1)}
	t.lease.monotonic, t.lease.tell = o.Monotonic, o.OnLease
	return t, nil
}

// errNoLease says why a Table does not answer.
var errNoLease = fmt.Errorf("%w: this replica has no lease", statefulroute.ErrUnavailable)

// Lookup returns what this replica knows of a session, without asking. ErrGone: it
// knows nothing, and Claim has to ask. ErrUnavailable: it may not answer; what comes with it
// is what it would have answered.
func (t *Table) Lookup(_ context.Context, service, key string, now time.Time) (statefulroute.Binding, error) {
	b, ok := t.local.Lookup(service, key, now)
	if b.Epoch == provisional {
		b.Epoch = 0 // none: a pod that compares epochs would refuse it
	}
	switch {
	case !t.lease.runs(): // after the look, for this process may have been stopped before it
		return b, errNoLease
	case !ok:
		return b, statefulroute.ErrGone
	}
	return b, nil
}

// Claim binds a session to a pod, or returns the binding that it has, with ErrConflict.
// ErrPodLost comes with a binding whose pod is lost to some replica, and ErrPodRefused says
// that the chosen pod is, or has already so many sessions as it may at most, where that is not 0.
func (t *Table) Claim(ctx context.Context, service, key, pod string, most uint32, now time.Time) (statefulroute.Binding, error) {
	r, err := t.ask(ctx, service, key, now, func(ctx context.Context, a Arbiter) (Reply, error) {
		return a.Claim(ctx, service, key, pod, most, t.ttl(service))
	})
	return answer(r, err, Claimed)
}

// Rebind gives a session another pod in place of one that is lost. It has all replicas
// forget the lost pod's sessions first, unless they have done so.
func (t *Table) Rebind(ctx context.Context, old statefulroute.Binding, to string, most uint32, now time.Time) (statefulroute.Binding, error) {
	if err := t.vote(ctx, PodName{old.Service, old.Pod}); err != nil {
		return statefulroute.Binding{}, unavailable(err)
	}
	r, err := t.ask(ctx, old.Service, old.Key, now, func(ctx context.Context, a Arbiter) (Reply, error) {
		return a.Rebind(ctx, old, to, most, t.ttl(old.Service))
	})
	return answer(r, err, Rebound)
}

// Find returns the binding that a session has, for a request that cannot claim. ErrGone: none.
func (t *Table) Find(ctx context.Context, service, key string, now time.Time) (statefulroute.Binding, error) {
	b, err := t.Claim(ctx, service, key, "", 0, now)
	if errors.Is(err, statefulroute.ErrConflict) {
		err = nil
	}
	return b, err
}

// answer is a reply as the callers of a Table know it; done is the code of the call's success.
func answer(r Reply, err error, done Code) (statefulroute.Binding, error) {
	switch {
	case err != nil && errors.Is(err, statefulroute.ErrFull):
		return r.Binding, statefulroute.ErrFull
	case err != nil:
		return r.Binding, unavailable(err)
	}
	switch r.Code {
	case done:
		return r.Binding, nil
	case Bound:
		return r.Binding, statefulroute.ErrConflict
	case None:
		return r.Binding, statefulroute.ErrGone
	case Fenced:
		return r.Binding, statefulroute.ErrPodLost
	case Choice:
		return r.Binding, statefulroute.ErrPodRefused
	case Changing:
		return r.Binding, statefulroute.ErrChanging
	}
	return r.Binding, unavailable(fmt.Errorf("the store says %q", r.Code))
}

// unavailable has callers see that nobody knows.
func unavailable(err error) error {
	if errors.Is(err, statefulroute.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", statefulroute.ErrUnavailable, err)
}

// staleTries bounds how often a reply may be overtaken by a change.
const staleTries = 8

// ask makes a call for a session and keeps the binding that it returns. Where the store has
// become another incarnation meanwhile, that is asked when this replica has joined it.
func (t *Table) ask(ctx context.Context, service, key string, now time.Time, do func(context.Context, Arbiter) (Reply, error)) (r Reply, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.opts.CallTimeout)
	defer cancel()
	for {
		at := t.now.Load()
		if at == nil {
			return r, errNoLease
		}
		r, err = t.askOf(ctx, at, service, key, now, do)
		passes := at.passes(err)
		if passes == nil {
			return r, err
		}
		t.renewNow()
		select {
		case <-passes:
		case <-ctx.Done():
			return r, err
		}
	}
}

func (t *Table) renewNow() {
	select {
	case t.renewSoon <- struct{}{}:
	default: // it will be
	}
}

// askOf asks one incarnation. It repeats the call when the answer was overtaken, and when a
// change has to be waited for.
func (t *Table) askOf(ctx context.Context, at *incarnation, service, key string, now time.Time, do func(context.Context, Arbiter) (Reply, error)) (r Reply, err error) {
	one := t.calls.begin(service, key)
	defer t.calls.end(service, key, one)
	for range staleTries {
		if r, err = do(ctx, at.arbiter); err != nil {
			return r, err
		}
		switch r.Code {
		case Changing, Fencing:
			if err := t.acted(ctx, at, r.Entry); err == nil {
				continue
			}
			return r, nil // some replica has stopped: it is waited for no longer
		case Bound, Claimed, Rebound:
			if !t.keep(at, one, r, now) {
				continue
			}
		}
		return r, nil
	}
	return r, errors.New("the session changes faster than it can be asked for")
}

// keep has the table know a binding, unless the reply was overtaken by an entry of the log
// that was acted on, or by a new incarnation.
func (t *Table) keep(at *incarnation, one *call, r Reply, now time.Time) bool {
	t.saw(r.Binding.Epoch)
	t.keeping.RLock()
	defer t.keeping.RUnlock()
	if t.now.Load() != at || t.calls.revokedAfter(one, r.Position) {
		return false
	}
	if !t.follows.Load() {
		return true
	}
	if t.fences[PodName{r.Binding.Service, r.Binding.Pod}].position > r.Position {
		return false
	}
	b := r.Binding
	b.LastSeen = now // the store's clock is another one
	if b.Created.After(now) {
		b.Created = now
	}
	// Where there is no room the next request asks again.
	if applied, _ := t.local.Apply(b, now); applied {
		t.uses.confirm(&b) // the store has just counted this one
	}
	return true
}

// saw notes an epoch: a store that lost its data is told of the highest.
func (t *Table) saw(epoch uint64) {
	for {
		highest := t.highest.Load()
		if epoch <= highest || t.highest.CompareAndSwap(highest, epoch) {
			return
		}
	}
}

// ttl is how long the store keeps a session that is not used. It is longer than the
// replicas do, who write uses only now and then: what a replica knows, the store has.
func (t *Table) ttl(service string) time.Duration {
	idle := t.uses.idle.of(service)
	return idle + idle/4 + 2*t.opts.Lease
}

// SetIdleTimeout sets how long an unused session is kept.
func (t *Table) SetIdleTimeout(service string, d time.Duration) {
	t.uses.idle.set(service, d)
	t.local.SetIdleTimeout(service, d)
}

// Remember keeps where a session was sent that nobody could be asked for, be it known or not.
// The store is told of it when it answers again; should it have another binding, or none any
// more, that counts.
func (t *Table) Remember(service, key, pod string, now time.Time) {
	b := statefulroute.Binding{Service: service, Key: key, Pod: pod, Epoch: provisional, Created: now, LastSeen: now, Requests: 1}
	if applied, _ := t.local.Apply(b, now); applied {
		t.uses.add(use{binding: b, putBack: true, unasked: true})
		return
	}
	if known, ok := t.local.Peek(service, key, now); ok && known.Pod == pod {
		b = known
	}
	t.uses.add(use{binding: b, unasked: true})
}

// provisional is the epoch of a binding that the store has not confirmed: any other is higher.
const provisional = 1

// GiveUp never makes room: a session that this replica knows of as used once may be in use
// elsewhere.
func (t *Table) GiveUp(context.Context, string, string, time.Time) bool { return false }

// Hold says that a request of a session has begun, see affinity.Table.
func (t *Table) Hold(service, key string, now time.Time) { t.local.Hold(service, key, now) }

// Release says that it has ended.
func (t *Table) Release(service, key string, now time.Time) { t.local.Release(service, key, now) }

// Show has others answer for a session, see affinity.Table, for as long as the lease runs:
// this replica forgets what others change, and then nobody is shown it any more. What the
// store has not confirmed has no epoch in what Lookup returns, and is not shown.
func (t *Table) Show(b statefulroute.Binding, now time.Time) bool { return t.local.Show(b, now) }

// PodSessions is how many sessions a pod has at all replicas, as of a second ago or so.
func (t *Table) PodSessions(service, pod string) int {
	if counts := t.counts.Load(); counts != nil {
		return (*counts)[PodName{service, pod}]
	}
	return 0
}

// Conflicts counts the bindings that this replica gave up, for the store had other ones, and
// the sessions whose requests it may have sent elsewhere while it could ask nobody.
func (t *Table) Conflicts() uint64 { return t.conflicts.Load() }

func (t *Table) conflict(service, key string) {
	now := time.Now()
	t.conflicts.Add(1)
	t.lastConflict.Store(&now)
	t.opts.OnConflict(service, key)
}

// Opened is closed when this replica had a lease, and the store took changes, for the first time.
func (t *Table) Opened() <-chan struct{} { return t.opened }

func (t *Table) markOpened() { t.openedOne.Do(func() { close(t.opened) }) }

// First reports whether this replica is the first on the register: of what is the same at
// all, it is the one to tell.
func (t *Table) First() bool {
	r := t.roll.Load()
	if r == nil || !t.lease.runs() {
		return false
	}
	for _, m := range r.Members {
		if m.ID < t.opts.Replica {
			return false
		}
	}
	return true
}
