package extproc

import (
	"context"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
)

// MemoryTable is the session table of this process as a Table, and as what the
// admin API edits. It is always there and waits for nobody, so contexts are not
// looked at.
type MemoryTable struct {
	Table *affinity.Table
	// Expedite, when set, is told of a session that was deleted or has ended: the file that
	// keeps the bindings is to forget it before those that just expire, or it would
	// come back after a crash.
	Expedite func(service, key string)
}

// Lookup implements Table.
func (t MemoryTable) Lookup(_ context.Context, service, key string, now time.Time) (statefulroute.Binding, error) {
	return orGone(t.Table.Lookup(service, key, now))
}

// Claim implements Table.
func (t MemoryTable) Claim(_ context.Context, service, key, pod string, _ uint32, now time.Time) (statefulroute.Binding, error) {
	return orConflict(t.Table.Claim(service, key, pod, now))
}

// Rebind implements Table.
func (t MemoryTable) Rebind(_ context.Context, old statefulroute.Binding, to string, _ uint32, now time.Time) (statefulroute.Binding, error) {
	return orConflict(t.Table.Rebind(old, to, now))
}

// Reassign implements Table.
func (t MemoryTable) Reassign(ctx context.Context, old statefulroute.Binding, to string, now time.Time) (statefulroute.Binding, error) {
	return t.Rebind(ctx, old, to, 0, now)
}

// Find implements Table: Lookup has said all there is.
func (t MemoryTable) Find(context.Context, string, string, time.Time) (statefulroute.Binding, error) {
	return statefulroute.Binding{}, statefulroute.ErrGone
}

// Remember implements Table: there is nobody who could not be asked.
func (t MemoryTable) Remember(string, string, string, time.Time) {}

// GiveUp implements Table.
func (t MemoryTable) GiveUp(_ context.Context, service, pod string, now time.Time) bool {
	return t.Table.GiveUp(service, pod, now)
}

// End implements Table.
func (t MemoryTable) End(_ context.Context, old statefulroute.Binding, now time.Time) error {
	if !t.Table.End(old, now) {
		return statefulroute.ErrGone
	}
	t.expedite(old.Service, old.Key)
	return nil
}

// Hold implements Table.
func (t MemoryTable) Hold(service, key string, now time.Time) { t.Table.Hold(service, key, now) }

// Release implements Table.
func (t MemoryTable) Release(service, key string, now time.Time) { t.Table.Release(service, key, now) }

// Show implements Table.
func (t MemoryTable) Show(b statefulroute.Binding, now time.Time) bool { return t.Table.Show(b, now) }

// List implements admin.Lister. What Envoys did by themselves is counted.
func (t MemoryTable) List(_ context.Context, service, pod string, limit int, after string) (page []statefulroute.Binding, next string, err error) {
	if after != "" && !affinity.ValidCursor(after) {
		return nil, "", statefulroute.ErrCursor
	}
	page, next = t.Table.List(service, pod, limit, after)
	now := time.Now()
	for i := range page {
		if b, ok := t.Table.Peek(page[i].Service, page[i].Key, now); ok && b.Epoch == page[i].Epoch {
			page[i] = b
		}
	}
	return page, next, nil
}

// Move implements admin.Editor.
func (t MemoryTable) Move(_ context.Context, service, key, to string, now time.Time) (statefulroute.Binding, error) {
	return t.Table.Move(service, key, to, now)
}

// Peek implements admin.Editor.
func (t MemoryTable) Peek(_ context.Context, service, key string, now time.Time) (statefulroute.Binding, error) {
	return orGone(t.Table.Peek(service, key, now))
}

// Remembered implements admin.Editor.
func (t MemoryTable) Remembered(_ context.Context, service, key string, now time.Time) (pod string, err error) {
	return orGone(t.Table.Remembered(service, key, now))
}

// Delete implements admin.Editor.
func (t MemoryTable) Delete(_ context.Context, service, key string) error {
	if !t.Table.Delete(service, key) {
		return statefulroute.ErrGone
	}
	t.expedite(service, key)
	return nil
}

func (t MemoryTable) expedite(service, key string) {
	if t.Expedite != nil {
		t.Expedite(service, key)
	}
}

// Flush implements admin.Editor.
func (t MemoryTable) Flush(_ context.Context, service string) (n int, err error) {
	return t.Table.Flush(service), nil
}

func orGone[T any](found T, ok bool) (T, error) {
	if !ok {
		return found, statefulroute.ErrGone
	}
	return found, nil
}

func orConflict(b statefulroute.Binding, won bool, err error) (statefulroute.Binding, error) {
	if err == nil && !won {
		err = statefulroute.ErrConflict
	}
	return b, err
}
