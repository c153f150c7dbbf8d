package shared

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

const (
	// retryFirst is the pause before the store is attached to anew, which doubles up to retryMost.
	retryFirst = 5 * time.Millisecond
	retryMost  = time.Second
	// openAsk is how often a replica that has put back what it holds asks whether all have.
	openAsk = 50 * time.Millisecond
)

// member is this replica's part in the store.
type member struct {
	*Table
	others map[string]heartbeats // by replica
	behind time.Duration         // since when the log goes on without us; 0: it does not
	due    bool                  // this incarnation was not told yet what this replica holds
	open   atomic.Bool           // the store takes changes, and nothing is due

	mu       sync.Mutex
	position uint64 // acted on the log up to
	of       string // the incarnation whose log that is
	told     uint64 // the position that the store knows
}

// arbiter is that of the incarnation in force.
func (m *member) arbiter() Arbiter { return m.now.Load().arbiter }

// Run takes part in the store until ctx ends, and then leaves it: others need not wait for
// the lease. Before that nothing may be asked any more.
func (t *Table) Run(ctx context.Context) error {
	m := &member{Table: t}
	leave := ""
	for pause := retryFirst; ctx.Err() == nil; {
		joined, err := m.attach(ctx, leave)
		leave = ""
		if err == nil {
			pause = retryFirst
			err = m.serve(ctx)
		}
		if ctx.Err() != nil {
			break
		}
		if joined && errors.Is(err, ErrLost) {
			leave = m.leaving(ctx)
		}
		m.unreached(err)
		t.opts.Log.Warn("the store is not in reach, or does not know this replica", zap.Error(err), zap.Duration("lease_left", t.Left()))
		sleep(ctx, pause)
		pause = min(2*pause, retryMost)
	}
	return m.quit()
}

// leaving is the incarnation to be left where the server still is the one it was begun
// at, but its clock was set.
func (m *member) leaving(ctx context.Context) string {
	called, cancel := context.WithTimeout(ctx, m.opts.CallTimeout)
	defer cancel()
	if _, err := m.arbiter().Peek(called, "", ""); err == nil {
		return m.arbiter().Incarnation()
	}
	return ""
}

// quit writes what is left and takes this replica off the register.
func (m *member) quit() error {
	m.lease.prolong(0)
	if m.now.Load() == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.opts.CallTimeout)
	defer cancel()
	return errors.Join(m.flush(ctx), m.arbiter().Leave(ctx, m.opts.Replica, 0))
}

// attach finds the store's incarnation, acts on what it missed, and joins.
func (m *member) attach(ctx context.Context, leave string) (joined bool, err error) {
	called, cancel := context.WithTimeout(ctx, 2*m.opts.Lease)
	defer cancel()
	a, err := m.opts.Store.Attach(called, leave)
	if err != nil {
		return false, err
	}
	if at := m.now.Load(); at == nil || at.arbiter.Incarnation() != a.Incarnation() {
		m.begin(newIncarnation(a, m.opts.Monotonic()))
	}
	for {
		asked := m.opts.Monotonic()
		at, of, fresh := m.actedOn()
		j, err := a.Join(called, at, of, fresh, m.info())
		switch {
		case err != nil:
			return false, err
		case !j.Behind:
			return true, m.joined(ctx, j, asked)
		}
		m.goOn(j.Position)
		if err := m.follow(called, time.Millisecond); err != nil {
			return false, err
		}
	}
}

// joined tells the store what it does not know, and begins the lease. While the store
// recovers, and while it was not told what this replica holds, a lease only goes on: should it
// have run out, others may have changed what this replica knows. Those who hold something
// newer say so before the store takes changes; a replica that comes later has to ask.
func (m *member) joined(ctx context.Context, j Joined, asked time.Duration) error {
	m.mu.Lock()
	m.position, m.of, m.told = j.Position, m.arbiter().Incarnation(), j.Position
	m.mu.Unlock()
	m.open.Store(j.Open && !m.due)
	if j.Open && m.due {
		m.lease.prolong(0) // it has run out, or else the store would not be open
	}
	m.behind = 0
	m.follows.Store(true)
	m.others = nil // not cleared: others may read it
	m.forgetVotes()
	m.learnVotes(j.Votes)
	m.keeping.Lock()
	for _, pod := range j.Fenced {
		if f, ok := m.fences[pod]; !ok || f.lifted {
			m.fences[pod] = fence{position: j.Position}
		}
	}
	m.keeping.Unlock()
	if j.Open {
		if err := m.flush(ctx); err != nil {
			return err
		}
	}
	m.renewed(asked)
	m.reached()
	at := m.now.Load()
	at.registeredOne.Do(func() { close(at.registered) })
	return nil
}

// begin turns to another incarnation. What this replica knows is to be put back.
func (m *member) begin(at *incarnation) {
	m.keeping.Lock()
	defer m.keeping.Unlock()
	was := m.now.Load()
	if was != nil {
		m.opts.Log.Warn("the store may have lost what it had acknowledged: sessions are put back",
			zap.String("incarnation", at.arbiter.Incarnation()))
	}
	m.now.Store(at)
	m.due = was != nil
	if was != nil {
		close(was.over)
	}
	clear(m.fences)
}

// serve renews the lease, follows the log and writes uses until something is lost.
func (m *member) serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return m.renew(ctx) })
	group.Go(func() error { return m.followLog(ctx) })
	group.Go(func() error { return m.awaitOpen(ctx) })
	return group.Wait()
}

// awaitOpen puts back what this replica holds, and then waits until all replicas have.
func (m *member) awaitOpen(ctx context.Context) error {
	if m.open.Load() {
		return nil
	}
	if err := m.putBack(ctx); err != nil {
		return err
	}
	m.due = false
	for {
		called, cancel := context.WithTimeout(ctx, m.opts.Lease/3)
		at := m.now.Load()
		open, err := at.arbiter.Ready(called, m.opts.Monotonic()-at.seen >= m.opts.othersLease(), m.highestKnown())
		cancel()
		if open {
			m.open.Store(true)
			m.reached()
			m.renewNow()
			m.opts.Log.Info("the store takes changes", zap.String("incarnation", at.arbiter.Incarnation()))
			return nil
		}
		if fatal(err) {
			return err
		}
		if !sleep(ctx, openAsk) {
			return ctx.Err()
		}
	}
}

// highestKnown is what new epochs have to be above: the highest that this replica saw, and the
// time by its own clock. Where the store's clock was set back and its data is lost, those who
// saw higher epochs may be gone.
func (m *member) highestKnown() uint64 {
	return max(m.highest.Load(), uint64(max(time.Now().UnixMilli(), 0)))
}

// fatal reports whether the replica has to attach anew.
func fatal(err error) bool {
	return errors.Is(err, ErrLost) || errors.Is(err, ErrUnregistered) || errors.Is(err, errBehind)
}
