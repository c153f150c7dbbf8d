package fastpath

import (
	"time"

	"github.com/stateful-route/stateful-route/fastpath/internal/layout"
)

// Reader is a process that acts on the table.
type Reader struct {
	// PID is what it calls itself: in a container of its own it is no process of ours.
	PID uint32
	// Seen is how long ago it last said that it is there, which it does each second.
	Seen time.Duration
}

// A reader is taken for gone that has not been heard of for readerSilent, or for
// readerSuspect when there is no process of its number, which alone says nothing of one in
// another container.
const (
	readerSilent  = 10 * time.Second
	readerSuspect = 3 * time.Second
)

// beingCleared is the number of the process in a reader's row whose counts are taken out.
const beingCleared = ^uint32(0)

// readers are the generations of the rows whose counts were taken out last, and how many rows
// from the first on have ever been somebody's.
type readers struct {
	cleared [layout.Readers]uint32
	known   int
}

func readerAt(i int) uint64 { return layout.OffReaders + uint64(i)*layout.ReaderSize }

// Readers returns those that act on the table.
func (t *Table) Readers() []Reader {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []Reader
	if t.mem == nil {
		return all
	}
	for i := range layout.Readers {
		if pid := t.mem.Load32(readerAt(i) + layout.ReaderPID); pid != 0 && pid != beingCleared {
			all = append(all, Reader{PID: pid, Seen: t.readerSeen(i)})
		}
	}
	return all
}

func (t *Table) readerSeen(i int) time.Duration {
	return max(t.now()-time.Duration(t.mem.Load64(readerAt(i)+layout.ReaderHeartbeat)), 0)
}

// dropDeadReaders frees the rows of readers that are gone, and takes out what they, or those
// that gave their rows back, had in flight.
func (t *Table) dropDeadReaders() {
	for i := range layout.Readers {
		at := readerAt(i)
		pid, generation := t.mem.Load32(at+layout.ReaderPID), t.mem.Load32(at+layout.ReaderGeneration)
		if pid != 0 || generation != 0 {
			t.readers.known = max(t.readers.known, i+1)
		}
		if pid == 0 && generation == t.readers.cleared[i] || pid != 0 && !t.readerGone(i, pid) {
			continue
		}
		if !t.mem.CompareAndSwap32(at+layout.ReaderPID, pid, beingCleared) {
			continue // somebody took the row: the next time
		}
		t.readers.cleared[i] = t.mem.Add32(at+layout.ReaderGeneration, 1) // from now on the old one counts nothing
		for p := range t.fresh {
			t.mem.Store32(t.podAt(p)+layout.PodInFlight+4*uint64(i), 0)
		}
		t.mem.Store32(at+layout.ReaderPID, 0)
	}
}

func (t *Table) readerGone(i int, pid uint32) bool {
	seen := t.readerSeen(i)
	return pid == beingCleared || seen >= readerSilent || seen >= readerSuspect && processGone(pid)
}

// inFlight is how many requests the first so many readers have on their way to a pod.
func (t *Table) inFlight(i, readers int) uint32 {
	n := int32(0)
	for r := range readers {
		n += int32(t.mem.Load32(t.podAt(i) + layout.PodInFlight + 4*uint64(r)))
	}
	return uint32(max(n, 0))
}

func (t *Table) clearInFlight(i int) {
	for r := range layout.Readers {
		t.mem.Store32(t.podAt(i)+layout.PodInFlight+4*uint64(r), 0)
	}
}
