package shared

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// lease is the time until which this replica may answer from its table.
type lease struct {
	monotonic func() time.Duration
	tell      func(until time.Duration)
	until     atomic.Int64
}

func (l *lease) runs() bool { return int64(l.monotonic()) < l.until.Load() }

func (l *lease) prolong(until time.Duration) {
	l.until.Store(int64(until))
	l.tell(until)
}

// Left is how long this replica may answer from its table; not above 0 means not at all.
func (t *Table) Left() time.Duration {
	return time.Duration(t.lease.until.Load()) - t.opts.Monotonic()
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

type heartbeats struct {
	beats uint64
	since time.Duration // by the monotonic clock
}
