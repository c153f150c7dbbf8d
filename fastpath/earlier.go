package fastpath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/stateful-route/stateful-route/fastpath/internal/layout"
)

// earlier is the table that an earlier process has left; nil is none.
type earlier struct{ file *os.File }

// openEarlier opens the table at a path. What is no table is none: nobody acts on it.
func openEarlier(path string) (*earlier, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	e := &earlier{f}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() < layout.HeaderSize ||
		string(e.read(layout.OffMagic, len(layout.Magic))) != layout.Magic {
		e.close()
		return nil, err
	}
	return e, nil
}

// read reads the memory that others have mapped; zeros where it cannot.
func (e *earlier) read(at int64, n int) []byte {
	text := make([]byte, n)
	if _, err := e.file.ReadAt(text, at); err != nil {
		clear(text)
	}
	return text
}

// live reports whether anybody may act on it.
func (e *earlier) live() bool {
	return e != nil && binary.LittleEndian.Uint32(e.read(layout.OffState, 4)) == layout.Live
}

// readers are those that were there a moment before now.
func (e *earlier) readers(now time.Duration) (pids []uint32) {
	rows := e.read(layout.OffReaders, layout.Readers*layout.ReaderSize)
	for ; len(rows) > 0; rows = rows[layout.ReaderSize:] {
		pid := binary.LittleEndian.Uint32(rows[layout.ReaderPID:])
		beat := time.Duration(binary.LittleEndian.Uint64(rows[layout.ReaderHeartbeat:]))
		if pid != 0 && pid != beingCleared && now-beat < readerThere {
			pids = append(pids, pid)
		}
	}
	return pids
}

// retire marks it as one that nobody may act on.
func (e *earlier) retire() error {
	if e == nil {
		return nil
	}
	if _, err := e.file.WriteAt([]byte{layout.Retired, 0, 0, 0}, layout.OffState); err != nil {
		return fmt.Errorf("fast-path table: retiring the one before: %w", err)
	}
	return nil
}

func (e *earlier) close() {
	if e != nil {
		_ = e.file.Close() // what was written is in memory
	}
}

// Retire has nobody act any more on the table that an earlier process left at a path, if there
// is one. It is for a process that can make none, and yet changes what that says.
func Retire(path string) error {
	e, err := openEarlier(path)
	if err != nil {
		return fmt.Errorf("fast-path table: retiring the one before: %w", err)
	}
	defer e.close()
	return e.retire()
}

const (
	// followWithin is how long readers have to find a new table, for which they look each
	// 20 ms.
	followWithin = 250 * time.Millisecond
	followPause  = 2 * time.Millisecond
	// readerThere is how lately a reader has been heard of that is waited for.
	readerThere = 1500 * time.Millisecond
)

// awaitReaders returns when those who act on the earlier table act on this one.
func (t *Table) awaitReaders(before *earlier) {
	if !before.live() {
		return
	}
	awaited := before.readers(t.now())
	for began := time.Now(); time.Since(began) < followWithin && !t.readBy(awaited); {
		time.Sleep(followPause)
	}
}

// readBy reports whether all those processes are among the readers.
func (t *Table) readBy(pids []uint32) bool {
	there := map[uint32]bool{}
	for _, r := range t.Readers() {
		there[r.PID] = true
	}
	for _, pid := range pids {
		if !there[pid] {
			return false
		}
	}
	return true
}
