package shared

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	statefulroute "github.com/stateful-route/stateful-route"
)

const (
	// retryFirst is the pause before the store is attached to anew, which doubles up to retryMost.
	retryFirst = 50 * time.Millisecond
	retryMost  = time.Second
	// flushEvery is how long uses are gathered.
	flushEvery = 200 * time.Millisecond
	// flushBatch is how many go in one call.
	flushBatch = 100
	// putBackAtOnce is how many calls put sessions back at a time.
	putBackAtOnce = 8
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
	// renewSoon has a lease begin as soon as the store takes changes.
	renewSoon chan struct{}

	mu       sync.Mutex
	position uint64 // acted on the log up to
	of       string // the incarnation whose log that is
	told     uint64 // the position that the store knows
}

type heartbeats struct {
	beats uint64
	since time.Duration // by the monotonic clock
}

// arbiter is that of the incarnation in force.
func (m *member) arbiter() Arbiter { return m.now.Load().arbiter }

// Run takes part in the store until ctx ends, and then leaves it: others need not wait for
// the lease. Before that nothing may be asked any more.
func (t *Table) Run(ctx context.Context) error {
	m := &member{Table: t, renewSoon: make(chan struct{}, 1)}
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
		m.begin(&incarnation{arbiter: a, seen: m.opts.Monotonic()})
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
	return nil
}

// renewed has the lease run from when the store was asked for it.
func (m *member) renewed(asked time.Duration) {
	open := m.open.Load()
	if open || m.lease.runs() {
		m.lease.prolong(asked + m.opts.ownLease())
	}
	if open {
		m.markOpened()
	}
}

// actedOn is up to where this replica has acted on the log, and of which incarnation that is;
// fresh is one that knows nothing that the log could have it forget.
func (m *member) actedOn() (position uint64, of string, fresh bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.position, m.of, !m.follows.Load()
}

// goOn has this replica act on the log after a position of the incarnation in force.
func (m *member) goOn(position uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.position, m.of = position, m.arbiter().Incarnation()
}

// begin turns to another incarnation. What this replica knows is to be put back.
func (m *member) begin(at *incarnation) {
	m.keeping.Lock()
	defer m.keeping.Unlock()
	first := m.now.Load() == nil
	if !first {
		m.opts.Log.Warn("the store may have lost what it had acknowledged: sessions are put back",
			zap.String("incarnation", at.arbiter.Incarnation()))
	}
	m.now.Store(at)
	m.due = !first
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
		open, err := at.arbiter.Ready(called, m.opts.Monotonic()-at.seen >= m.opts.othersLease(), m.highest.Load())
		cancel()
		if open {
			m.open.Store(true)
			m.reached()
			select {
			case m.renewSoon <- struct{}{}:
			default: // it will be
			}
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

// fatal reports whether the replica has to attach anew.
func fatal(err error) bool {
	return errors.Is(err, ErrLost) || errors.Is(err, ErrUnregistered) || errors.Is(err, errBehind)
}

// putBack writes all that this replica knows, some batches at a time.
func (m *member) putBack(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(putBackAtOnce)
	var batch []Use
	send := func() {
		some := batch
		batch = nil
		group.Go(func() error { return m.insist(ctx, some) })
	}
	for b := range m.local.All() {
		if b.Epoch == provisional {
			continue // others may hold a binding that the store has confirmed: flush tells of it
		}
		if batch = append(batch, Use{Binding: b, TTL: m.ttl(b.Service), PutBack: true}); len(batch) == flushBatch {
			send()
		}
		if ctx.Err() != nil {
			break
		}
	}
	send()
	return group.Wait()
}

// insist is write until it is done, or cannot be in this incarnation.
func (m *member) insist(ctx context.Context, batch []Use) error {
	for len(batch) > 0 {
		called, cancel := context.WithTimeout(ctx, m.opts.Lease/3)
		err := m.write(called, batch)
		cancel()
		if err == nil || fatal(err) {
			return err
		}
		if !sleep(ctx, retryFirst) {
			return ctx.Err()
		}
	}
	return nil
}

// followLog acts on the log as it grows, and says so.
func (m *member) followLog(ctx context.Context) error {
	for ctx.Err() == nil {
		err := m.tell(ctx)
		if err == nil {
			err = m.follow(ctx, m.opts.Lease/3)
		}
		if fatal(err) {
			return err
		}
		if err != nil {
			sleep(ctx, retryFirst)
		}
	}
	return ctx.Err()
}

// follow acts on what the log has after the position, and waits a while for something.
func (m *member) follow(ctx context.Context, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait+m.opts.Lease/3)
	defer cancel()
	at, _, _ := m.actedOn()
	entries, err := m.arbiter().Log(ctx, at, wait)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Position != at+1 {
			m.opts.Log.Warn("the log lacks what this replica should have acted on: it forgets all sessions",
				zap.Uint64("after", at), zap.Uint64("next", e.Position))
			m.forgetAll()
		}
		m.actOn(e)
		at = e.Position
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.position = at
	return nil
}

// tell has the store know up to where this replica has acted on the log.
func (m *member) tell(ctx context.Context) error {
	m.mu.Lock()
	at, told := m.position, m.told
	m.mu.Unlock()
	if at == told {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, m.opts.Lease/3)
	defer cancel()
	if err := m.arbiter().Acted(ctx, at); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = at
	return nil
}

// renew prolongs the lease three times as often as it would run out, and writes uses
// before: as long as the lease runs, the store knows of all uses but the last.
func (m *member) renew(ctx context.Context) error {
	flushed := time.NewTicker(flushEvery)
	defer flushed.Stop()
	next := m.opts.Monotonic() // at once: it tells who else there is, and how many sessions pods have
	for {
		select {
		case <-m.renewSoon:
			next = 0 // a lease that has run out begins again
		case <-flushed.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		called, cancel := context.WithTimeout(ctx, m.opts.Lease/3)
		err := m.flush(called)
		if err == nil && m.opts.Monotonic() >= next {
			asked := m.opts.Monotonic()
			err = m.renewOnce(called)
			if err == nil && !m.lease.runs() {
				err = m.flush(called) // of sessions that began meanwhile without the store
			}
			if err == nil {
				m.renewed(asked)
				m.reached()
				next = asked + m.opts.Lease/3
			}
		}
		cancel()
		if err != nil {
			m.unreached(err)
		}
		if fatal(err) {
			return err
		}
	}
}

var errBehind = errors.New("this replica does not get the store's log")

func (m *member) renewOnce(ctx context.Context) error {
	at := m.now.Load()
	r, err := at.arbiter.Renew(ctx, m.info())
	if err != nil {
		return err
	}
	if err := m.keepsUp(r.Position); err != nil {
		return err
	}
	err = m.takeOff(ctx, r.Members)
	m.roll.Store(&roll{r, m.opts.Monotonic(), m.others})
	if err != nil {
		return err
	}
	m.learnVotes(r.Votes)
	if r.Open {
		if err := errors.Join(m.reviewVotes(ctx, at.arbiter), m.endChanges(ctx, at)); err != nil {
			m.opts.Log.Warn("the store was not told what has changed", zap.Error(err))
		}
	}
	counts, err := at.arbiter.Count(ctx)
	if err != nil {
		return fmt.Errorf("count sessions: %w", err)
	}
	by := make(map[PodName]int, len(counts))
	for _, c := range counts {
		by[c.PodName] = c.Sessions
	}
	m.counts.Store(&by)
	return nil
}

// keepsUp refuses to go on when the log goes on and this replica does not hear of it: others
// would wait for it for ever.
func (m *member) keepsUp(end uint64) error {
	m.mu.Lock()
	behind := m.told < end
	m.mu.Unlock()
	now := m.opts.Monotonic()
	switch {
	case !behind:
		m.behind = 0
	case m.behind == 0:
		m.behind = now
	case now-m.behind > m.opts.Lease:
		return errBehind
	}
	return nil
}

// takeOff takes replicas off the register that have not renewed for as long as their lease
// lasts, by our own clock.
func (m *member) takeOff(ctx context.Context, members []Member) error {
	now := m.opts.Monotonic()
	seen := make(map[string]heartbeats, len(members))
	for _, other := range members {
		if other.ID == m.opts.Replica {
			continue
		}
		h, ok := m.others[other.ID]
		if !ok || h.beats != other.Beats {
			h = heartbeats{other.Beats, now}
		}
		seen[other.ID] = h
		if now-h.since > m.opts.othersLease() {
			if err := m.arbiter().Leave(ctx, other.ID, other.Beats); err != nil {
				return err
			}
			m.opts.Log.Warn("a replica has no lease any more: nobody waits for it", zap.String("replica", other.ID))
		}
	}
	m.others = seen
	return nil
}

// flush writes the uses that were gathered.
func (m *member) flush(ctx context.Context) error {
	all := m.uses.take()
	if len(all) == 0 {
		return nil
	}
	batch, names := make([]Use, 0, flushBatch), make([]sessionName, 0, flushBatch)
	for name, u := range all {
		if u.binding.Epoch == provisional && !m.open.Load() {
			m.uses.addAgain(map[sessionName]use{name: u})
			delete(all, name)
			continue
		}
		batch = append(batch, Use{Binding: u.binding, TTL: m.ttl(name.service), PutBack: !u.revoked && (u.putBack || !m.open.Load()), Unasked: u.unasked})
		if names = append(names, name); len(batch) < flushBatch {
			continue
		}
		if err := m.write(ctx, batch); err != nil {
			m.uses.addAgain(all)
			return err
		}
		for _, name := range names {
			delete(all, name)
		}
		batch, names = batch[:0], names[:0]
	}
	if len(batch) == 0 {
		return nil
	}
	err := m.write(ctx, batch)
	if err != nil {
		m.uses.addAgain(all)
	}
	return err
}

// write writes some uses, and gives up what the store has otherwise.
func (m *member) write(ctx context.Context, batch []Use) error {
	calls := make([]*call, len(batch))
	for i := range batch {
		calls[i] = m.calls.begin(batch[i].Binding.Service, batch[i].Binding.Key)
	}
	defer func() {
		for i := range batch {
			m.calls.end(batch[i].Binding.Service, batch[i].Binding.Key, calls[i])
		}
	}()
	at := m.now.Load()
	replies, err := at.arbiter.Refresh(ctx, batch)
	if err != nil {
		return err
	}
	now := time.Now()
	for i, r := range replies {
		b := &batch[i].Binding
		m.saw(r.Binding.Epoch)
		switch r.Code {
		case Bound:
			if r.Binding.Epoch > b.Epoch {
				m.keep(at, calls[i], r, now)
			}
		case Won:
			m.conflict(b.Service)
		case Conflict:
			m.giveUp(b)
			m.conflict(b.Service)
		case None:
			m.giveUp(b)
			if batch[i].Unasked {
				m.conflict(b.Service)
			}
		case Changing, Fenced: // what is about to be moved is not kept: nobody would say when it was
			m.giveUp(b)
		}
	}
	return nil
}

// giveUp forgets a binding that the store has not, unless the table has another by now.
func (m *member) giveUp(b *statefulroute.Binding) {
	m.keeping.Lock()
	defer m.keeping.Unlock()
	if present, ok := m.local.Peek(b.Service, b.Key, time.Now()); ok && present.Epoch <= b.Epoch {
		m.local.Delete(b.Service, b.Key)
	}
}
