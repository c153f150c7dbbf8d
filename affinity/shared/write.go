package shared

import (
	"context"
	"maps"
	"slices"
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
	for {
		position, _, _ := m.actedOn()
		batch = slices.DeleteFunc(batch, m.ended)
		called, cancel := context.WithTimeout(ctx, m.opts.Lease/3)
		behind, err := m.write(called, position, batch)
		cancel()
		switch {
		case fatal(err):
			return err
		case err == nil:
			batch = behind
		}
		if len(batch) == 0 {
			return nil
		}
		if !sleep(ctx, retryFirst) {
			return ctx.Err()
		}
	}
}

// ended reports whether the table does not have a binding any more.
func (m *member) ended(u Use) bool {
	b, ok := m.local.Peek(u.Binding.Service, u.Binding.Key, time.Now())
	return !ok || b.Epoch != u.Binding.Epoch
}

// flush writes the uses that were gathered.
func (m *member) flush(ctx context.Context) error {
	position, _, _ := m.actedOn() // before they are taken
	all := m.uses.take()
	if len(all) == 0 {
		return nil
	}
	batch := make([]Use, 0, flushBatch)
	for name, u := range all {
		if u.binding.Epoch == provisional && !m.open.Load() {
			continue // others may hold a binding that the store has confirmed
		}
		batch = append(batch, Use{Binding: u.binding, TTL: m.ttl(name.service), PutBack: !u.revoked && (u.putBack || !m.open.Load()), Unasked: u.unasked})
		if len(batch) < flushBatch {
			continue
		}
		if err := m.flushBatch(ctx, position, batch, all); err != nil {
			m.uses.addAgain(all)
			return err
		}
		batch = batch[:0]
	}
	err := m.flushBatch(ctx, position, batch, all)
	m.uses.addAgain(all)
	return err
}

// flushBatch writes a batch and takes what is done out of left.
func (m *member) flushBatch(ctx context.Context, position uint64, batch []Use, left map[sessionName]use) error {
	if len(batch) == 0 {
		return nil
	}
	behind, err := m.write(ctx, position, batch)
	if err != nil {
		return err
	}
	again := make(map[sessionName]use, len(behind))
	for i := range behind {
		name := sessionName{behind[i].Binding.Service, behind[i].Binding.Key}
		again[name] = left[name]
	}
	for i := range batch {
		delete(left, sessionName{batch[i].Binding.Service, batch[i].Binding.Key})
	}
	maps.Copy(left, again)
	return nil
}

// write writes some uses as they were at a position in the log, and gives up what the store has
// otherwise. It returns those that are to be written again when more of the log is acted on.
func (m *member) write(ctx context.Context, position uint64, batch []Use) (behind []Use, err error) {
	if len(batch) == 0 {
		return nil, nil
	}
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
	replies, err := at.arbiter.Refresh(ctx, position, batch)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	for i, r := range replies {
		m.saw(r.Binding.Epoch)
		if r.Code == Behind {
			behind = append(behind, batch[i])
			continue
		}
		if m.took(at, calls[i], &batch[i], r, now) {
			m.conflict(batch[i].Binding.Service, batch[i].Binding.Key)
		}
	}
	return behind, nil
}

// took deals with what the store says of a use, and reports whether that is a conflict: a
// binding was given up, or requests that nobody could be asked about may have gone elsewhere.
func (m *member) took(at *incarnation, one *call, sent *Use, r Reply, now time.Time) (conflict bool) {
	b := &sent.Binding
	conflict = m.uses.wasElsewhere(sent, &r.Binding)
	switch r.Code {
	case Bound:
		// Of an unasked session the table may have another binding by now, which was not confirmed.
		if (sent.Unasked || r.Binding.Epoch > b.Epoch) && !m.keep(at, one, r, now) {
			m.giveUp(b) // nor is what it replaces right
		}
	case Won:
		conflict = true
	case Conflict:
		m.giveUp(b)
		conflict = true
	case None:
		m.giveUp(b)
		conflict = sent.Unasked
	case Changing, Fenced: // what is about to be moved is not kept: nobody would say when it was
		m.giveUp(b)
	}
	return conflict
}

// giveUp forgets a binding that the store has not, unless the table has another by now.
func (m *member) giveUp(b *statefulroute.Binding) {
	m.keeping.Lock()
	defer m.keeping.Unlock()
	if present, ok := m.local.Peek(b.Service, b.Key, time.Now()); ok && present.Epoch <= b.Epoch {
		m.local.Delete(b.Service, b.Key)
	}
}
