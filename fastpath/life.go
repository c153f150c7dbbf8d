package fastpath

import (
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/stateful-route/stateful-route/fastpath/internal/layout"
)

// NoLease is the lease's end of a table whose writer nobody else replaces.
const NoLease = time.Duration(math.MaxInt64)

// errClosed is what those methods say that can fail.
var errClosed = errors.New("fast-path table: it is closed")

// Activate has readers act on the table, and on no other that was at its path: it returns
// when the earlier one is retired. That is when those who act on it have found the new one, or
// followWithin later: requests that come in between need not ask a process that Envoy may not
// have found yet. Until it returns no binding may change.
func (t *Table) Activate() error {
	if t.activated() {
		return nil
	}
	before, err := openEarlier(t.path)
	if err != nil {
		return fmt.Errorf("fast-path table: the one before: %w", err)
	}
	defer before.close()
	if err := t.publish(); err != nil {
		return errors.Join(err, before.retire())
	}
	t.awaitReaders(before)
	return before.retire()
}

// activated reports whether the table is what readers find.
func (t *Table) activated() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mem != nil && t.file == t.path
}

// publish has readers find the table.
func (t *Table) publish() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mem == nil {
		return errClosed
	}
	t.mem.Store32(layout.OffState, layout.Live)
	if err := os.Rename(t.file, t.path); err != nil {
		return fmt.Errorf("fast-path table: %w", err)
	}
	t.file = t.path
	return nil
}

// Close ends the writing. With leave, readers go on acting on the table as it is, until the
// next is activated: that is for a restart, while which nobody changes a binding. Else it is
// retired, and its file removed.
func (t *Table) Close(leave bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mem == nil {
		return nil
	}
	m := t.mem
	t.mem = nil
	var removed error
	if !leave || m.Load32(layout.OffState) != layout.Live {
		m.Store32(layout.OffState, layout.Retired)
		removed = t.remove()
	}
	if err := errors.Join(removed, unmap(m), t.open.Close()); err != nil {
		return fmt.Errorf("fast-path table: %w", err)
	}
	return nil
}

// remove removes the file, unless another process has put its own there.
func (t *Table) remove() error {
	info, err := os.Lstat(t.file)
	if errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(info, t.id) {
		return nil
	}
	return errors.Join(err, os.Remove(t.file))
}

// SetLease says until when the table may be acted on, on Monotonic's clock; NoLease, as it is
// at first, is for ever.
func (t *Table) SetLease(end time.Duration) {
	until := uint64(max(end, 0))
	if end == NoLease {
		until = layout.NoLease
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mem != nil {
		t.mem.Store64(layout.OffLeaseEnd, until)
	}
}

// SetTracing says which requests take the callout so that there is a span of each: those
// whose traceparent says that they are sampled, and those that have none.
func (t *Table) SetTracing(sampled, untraced bool) {
	flags := uint32(0)
	if sampled {
		flags |= layout.SampledCallsOut
	}
	if untraced {
		flags |= layout.UntracedCallsOut
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mem != nil {
		t.mem.Store32(layout.OffFlags, flags)
	}
}
