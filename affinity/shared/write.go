package shared

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	statefulroute "github.com/stateful-route/stateful-route"
)

const (
	// flushEvery is how long uses are gathered.
	flushEvery = 200 * time.Millisecond
	// flushBatch is how many go in one call.
	flushBatch = 100
	// putBackAtOnce is how many calls put sessions back at a time.
	putBackAtOnce = 8
)

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
