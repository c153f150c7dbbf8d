package main

import (
	"bytes"
	"sync"
)

const (
	// keptLines is how many of a program's last lines an error shows.
	keptLines = 8
	// maxLine bounds what is held of a line that does not end.
	maxLine = 16 << 10
)

// lineWriter passes a program's output on line by line, and keeps the last ones.
type lineWriter struct {
	out    *outputs
	prefix string

	mu      sync.Mutex
	partial []byte
	kept    []string
}

// Write never fails: a program is not disturbed by what becomes of its output.
func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(b)
	for {
		line, rest, found := bytes.Cut(b, []byte("\n"))
		w.partial = append(w.partial, line...)
		if !found {
			if len(w.partial) > maxLine {
				w.emitLocked()
			}
			return n, nil
		}
		w.emitLocked()
		b = rest
	}
}

func (w *lineWriter) emitLocked() {
	line := string(w.partial)
	w.partial = w.partial[:0]
	if line == "" {
		return
	}
	if len(w.kept) == keptLines {
		w.kept = append(w.kept[:0], w.kept[1:]...)
	}
	w.kept = append(w.kept, line)
	w.out.line(w.prefix, line)
}

// last returns the last lines, one that was not ended included.
func (w *lineWriter) last() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.partial) > 0 {
		w.emitLocked()
	}
	if len(w.kept) == 0 {
		return []string{"(it printed nothing)"}
	}
	return append([]string(nil), w.kept...)
}
