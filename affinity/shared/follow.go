package shared

import (
	"context"
	"time"

	"go.uber.org/zap"
)

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

// actOn has the table forget what an entry of the log says.
func (t *Table) actOn(e Entry) {
	switch e.Kind {
	case Revoke:
		t.keeping.Lock()
		defer t.keeping.Unlock()
		for _, key := range e.Keys {
			t.calls.revoke(e.Service, key, e.Position)
			if e.Keep != t.opts.Replica {
				t.uses.revoke(e.Service, key)
				t.local.Delete(e.Service, key)
			}
		}
	case Fence:
		t.keeping.Lock()
		t.fences[PodName{e.Service, e.Pod}] = fence{position: e.Position}
		t.keeping.Unlock()
		t.local.DropPod(e.Service, e.Pod) // nothing more of it is kept now
	case Unfence:
		t.keeping.Lock()
		defer t.keeping.Unlock()
		name := PodName{e.Service, e.Pod}
		// The position stays: an answer from before may still come.
		t.fences[name] = fence{position: t.fences[name].position, lifted: true}
	}
}

// forgetAll has the table forget everything: the log does not say any more what. Answers
// that are under way are not kept either.
func (t *Table) forgetAll() {
	t.keeping.Lock()
	again := *t.now.Load()
	t.now.Store(&again)
	t.keeping.Unlock()
	t.uses.revokeAll()
	for b := range t.local.All() {
		t.local.Delete(b.Service, b.Key)
	}
}
