package proof_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/shared"
)

// breakage is a way in which the code is broken on purpose; empty: none.
type breakage string

const (
	// breakNoAck says to the store that the replica has acted before it has.
	breakNoAck breakage = "no acknowledgement"
	// breakNoLease answers from the table whether the lease runs or not.
	breakNoLease breakage = "lease not checked"
	// breakSlowClock has one replica's clock go at a fifth of its pace.
	breakSlowClock breakage = "slow clock"
)

// clock is the one that a replica's lease goes by; nil: the real one.
func (b breakage) clock(replica string) func() time.Duration {
	if b != breakSlowClock || replica[0] != 'a' {
		return nil
	}
	began := time.Now()
	return func() time.Duration { return time.Since(began) / 5 }
}

// lateActing is how long a replica that is broken by breakNoAck takes before it acts.
const lateActing = 5 * time.Millisecond

// watchedStore tells of what its process has to do with the store.
type watchedStore struct {
	shared.Store
	*process
}

// Attach implements shared.Store.
func (s *watchedStore) Attach(ctx context.Context, leave string) (shared.Arbiter, error) {
	a, err := s.Store.Attach(ctx, leave)
	if err != nil {
		return nil, err
	}
	return &watchedArbiter{a, s.process}, nil
}

type watchedArbiter struct {
	shared.Arbiter
	*process
}

// effect is what a command did at the store, whatever it answers in the end.
type effect struct {
	unknown atomic.Bool // nobody can say
	mu      sync.Mutex
	made    []answer // bindings
}

type effectKey struct{}

// noted notes what a call of a command did or may have done.
func noted(ctx context.Context, err error, old statefulroute.Binding, replies ...shared.Reply) {
	e, ok := ctx.Value(effectKey{}).(*effect)
	if !ok {
		return
	}
	switch {
	case errors.Is(err, shared.ErrRecovering), errors.Is(err, shared.ErrUnregistered), errors.Is(err, shared.ErrLost):
		return
	case err != nil:
		e.unknown.Store(true)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range replies {
		b := r.Binding
		switch r.Code {
		case shared.Claimed:
			e.made = append(e.made, answer{How: howClaimed, Pod: b.Pod, Epoch: b.Epoch})
		case shared.Rebound:
			e.made = append(e.made, answer{How: howRebound, Pod: b.Pod, Epoch: b.Epoch, From: old.Pod, FromEpoch: old.Epoch})
		case shared.Begun:
			e.unknown.Store(true) // until it is done
		}
	}
}

// Claim implements shared.Arbiter.
func (a *watchedArbiter) Claim(ctx context.Context, service, key, pod string, most uint32, ttl time.Duration) (shared.Reply, error) {
	r, err := a.Arbiter.Claim(ctx, service, key, pod, most, ttl)
	noted(ctx, err, statefulroute.Binding{}, r)
	return r, err
}

// Rebind implements shared.Arbiter.
func (a *watchedArbiter) Rebind(ctx context.Context, old statefulroute.Binding, to string, most uint32, ttl time.Duration) (shared.Reply, error) {
	r, err := a.Arbiter.Rebind(ctx, old, to, most, ttl)
	noted(ctx, err, old, r)
	return r, err
}

// Change implements shared.Arbiter.
func (a *watchedArbiter) Change(ctx context.Context, service string, keys []string, epoch uint64, to string, ttl time.Duration) ([]shared.Reply, error) {
	replies, err := a.Arbiter.Change(ctx, service, keys, epoch, to, ttl)
	noted(ctx, err, statefulroute.Binding{}, replies...)
	return replies, err
}

// Join implements shared.Arbiter.
func (a *watchedArbiter) Join(ctx context.Context, position uint64, of string, fresh bool, info shared.Info) (shared.Joined, error) {
	j, err := a.Arbiter.Join(ctx, position, of, fresh, info)
	if err == nil && !j.Behind {
		a.tell(record{Kind: "joined", Incarnation: a.Incarnation(), Open: j.Open})
	}
	return j, err
}

// Ready implements shared.Arbiter.
func (a *watchedArbiter) Ready(ctx context.Context, waited bool, highest uint64) (bool, error) {
	open, err := a.Arbiter.Ready(ctx, waited, highest)
	if open {
		a.tell(record{Kind: "open", Incarnation: a.Incarnation()})
	}
	return open, err
}

// Log implements shared.Arbiter.
func (a *watchedArbiter) Log(ctx context.Context, after uint64, wait time.Duration) ([]shared.Entry, error) {
	entries, err := a.Arbiter.Log(ctx, after, wait)
	if a.Break == breakNoAck && err == nil && len(entries) > 0 {
		_ = a.Acted(ctx, entries[len(entries)-1].Position) // refused where it is not registered yet
		time.Sleep(lateActing)
	}
	return entries, err
}

// Refresh implements shared.Arbiter. What is put back is told before, for it may be taken
// although nobody hears of that, and after.
func (a *watchedArbiter) Refresh(ctx context.Context, position uint64, uses []shared.Use) ([]shared.Reply, error) {
	of := func(u *shared.Use) record {
		return record{Kind: "putback", Incarnation: a.Incarnation(), Key: u.Binding.Key, Pod: u.Binding.Pod, Epoch: u.Binding.Epoch}
	}
	for i := range uses {
		if uses[i].PutBack {
			a.tell(of(&uses[i]))
		}
	}
	replies, err := a.Arbiter.Refresh(ctx, position, uses)
	for i, r := range replies {
		if err == nil && uses[i].Unasked {
			agreed := r.Code == shared.Bound && r.Binding.Pod == uses[i].Binding.Pod
			a.tell(record{Kind: "asked", Key: uses[i].Binding.Key, Pod: uses[i].Binding.Pod, Agreed: agreed})
		}
		if err != nil || !uses[i].PutBack {
			continue
		}
		told := of(&uses[i])
		switch r.Code {
		case shared.Bound:
			told.InForce = r.Binding.Epoch
		case shared.Won:
			told.InForce = told.Epoch
		default:
			continue
		}
		a.tell(told)
	}
	return replies, err
}
