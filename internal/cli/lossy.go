package cli

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// logBuffer is how many bytes of log lines may wait for a reader.
	logBuffer = 1 << 20
	// logPatience is how long the end of the process, or a line that is followed
	// by its end, waits for a reader.
	logPatience = time.Second
)

// lossy is a writer of lines that never keeps its caller waiting: whoever reads
// the log may be slow, stopped or gone, and the requests are served all the same.
// A line joins a bounded buffer, which one goroutine writes out; one that finds no
// room is counted and given up, and so are all after it until there is room again:
// a gap is told in its place, with how many lines are missing.
type lossy struct {
	out    io.Writer
	limit  int
	notice func(lost uint64) []byte // the line that tells a gap

	dropped atomic.Uint64
	wake    chan struct{}
	done    chan struct{}
	torn    bool // of run: the last line written is not whole

	mu      sync.Mutex
	filling []byte // lines that wait
	writing int    // bytes that out is being given
	lost    uint64 // lines given up after those in filling
	synced  []chan struct{}
	closed  bool
}

// newLossy starts the goroutine, which ends with close.
func newLossy(out io.Writer, limit int, notice func(lost uint64) []byte) *lossy {
	l := &lossy{out: out, limit: limit, notice: notice, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go l.run()
	return l
}

// Write takes one line. It does not fail: nobody could be told.
func (l *lossy) Write(line []byte) (int, error) {
	l.mu.Lock()
	if l.closed || l.lost > 0 || len(l.filling)+l.writing+len(line) > l.limit {
		l.lost++
		l.dropped.Add(1)
	} else {
		l.filling = append(l.filling, line...)
	}
	l.mu.Unlock()
	l.rouse()
	return len(line), nil
}

func (l *lossy) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Dropped counts the lines that nobody will read.
func (l *lossy) Dropped() uint64 { return l.dropped.Load() }

var errUnread = errors.New("the log is not being read")

// Sync waits until what was written so far is out, for as long as its patience
// lasts.
func (l *lossy) Sync() error {
	out := make(chan struct{})
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.synced = append(l.synced, out)
	l.mu.Unlock()
	l.rouse()
	return await(out)
}

// close writes out what waits and ends the goroutine. Where nobody reads, it
// leaves the goroutine behind in its write: the process ends at once.
func (l *lossy) close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.rouse()
	return await(l.done)
}

func await(done <-chan struct{}) error {
	timer := time.NewTimer(logPatience)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return errUnread
	}
}

func (l *lossy) run() {
	defer close(l.done)
	var chunk []byte
	var untold uint64 // lines that were lost and not told yet
	for closed := false; !closed; {
		<-l.wake
		var lost uint64
		var synced []chan struct{}
		chunk, lost, synced, closed = l.take(chunk)
		if len(chunk) > 0 {
			untold = l.tell(untold)
		}
		failed := l.write(chunk)
		l.dropped.Add(failed)
		if untold += failed + lost; lost > 0 || closed {
			untold = l.tell(untold)
		}
		l.wrote(synced)
	}
}

// take hands over what waits and gives spare in return.
func (l *lossy) take(spare []byte) (chunk []byte, lost uint64, synced []chan struct{}, closed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	chunk, l.filling = l.filling, spare[:0]
	lost, l.lost = l.lost, 0
	synced, l.synced = l.synced, nil
	l.writing = len(chunk)
	return chunk, lost, synced, l.closed
}

func (l *lossy) wrote(synced []chan struct{}) {
	l.mu.Lock()
	l.writing = 0
	l.mu.Unlock()
	for _, s := range synced {
		close(s)
	}
}

// write returns how many lines could not be written: a disk may be full, and a
// reader gone.
func (l *lossy) write(lines []byte) (failed uint64) {
	if len(lines) == 0 {
		return 0
	}
	if l.torn {
		if _, err := l.out.Write([]byte("\n")); err != nil {
			return uint64(bytes.Count(lines, []byte("\n")))
		}
		l.torn = false
	}
	n, err := l.out.Write(lines)
	if err == nil {
		return 0
	}
	l.torn = n > 0 && lines[n-1] != '\n'
	return uint64(bytes.Count(lines[n:], []byte("\n")))
}

// tell writes that lines are missing and returns how many are still to be told of.
func (l *lossy) tell(untold uint64) uint64 {
	if untold == 0 || l.write(l.notice(untold)) > 0 {
		return untold
	}
	return 0
}
