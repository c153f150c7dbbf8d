package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reader is a reader of the log that takes what it is let.
type reader struct {
	mu    sync.Mutex
	got   strings.Builder
	fail  error
	stops chan struct{} // not nil: Write waits until it is closed
}

func (r *reader) Write(p []byte) (int, error) {
	r.mu.Lock()
	stops := r.stops
	r.mu.Unlock()
	if stops != nil {
		<-stops
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		n := min(3, len(p))
		r.got.Write(p[:n])
		return n, r.fail
	}
	return r.got.Write(p)
}

func (r *reader) set(fail error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = fail
}

func (r *reader) text() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got.String()
}

func gap(lost uint64) []byte { return fmt.Appendf(nil, "lost %d\n", lost) }

func line(i int) []byte { return fmt.Appendf(nil, "line %03d\n", i) }

const lineSize = 9

// A reader that stops costs lines and never time; those that are missing are
// told in their place.
func TestAStoppedReaderIsToldWhatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{stops: make(chan struct{})}
		l := newLossy(r, 4*lineSize, gap)
		for i := range 10 {
			if n, err := l.Write(line(i)); n != lineSize || err != nil {
				t.Fatalf("line %d: %d, %v", i, n, err)
			}
			synctest.Wait()
		}
		if got := l.Dropped(); got != 6 {
			t.Errorf("%d lines dropped, want 6", got)
		}
		if err := l.Sync(); !errors.Is(err, errUnread) {
			t.Errorf("Sync with a reader that stopped: %v", err)
		}
		close(r.stops)
		synctest.Wait()
		_, _ = l.Write(line(10))
		if err := errors.Join(l.Sync(), l.close()); err != nil {
			t.Error(err)
		}
		_, _ = l.Write(line(11))
		want := "line 000\nline 001\nline 002\nline 003\nlost 6\nline 010\n"
		if r.text() != want || l.Dropped() != 7 {
			t.Errorf("got %q and %d dropped, want %q and 7", r.text(), l.Dropped(), want)
		}
	})
}

// A disk that is full and a reader that is gone cost the lines that they refuse.
func TestARefusedLineIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{fail: errors.New("no space left on device")}
		l := newLossy(r, 1000, gap)
		for i := range 3 {
			_, _ = l.Write(line(i))
			synctest.Wait()
		}
		r.set(nil)
		_, _ = l.Write(line(3))
		if err := l.close(); err != nil {
			t.Error(err)
		}
		if got := r.text(); !strings.HasSuffix(got, "\nlost 3\nline 003\n") || l.Dropped() != 3 {
			t.Errorf("got %q and %d dropped", got, l.Dropped())
		}
	})
}

func TestNothingIsLostWhileSomebodyReads(t *testing.T) {
	var r reader
	l := newLossy(&r, 1<<20, gap)
	var wait sync.WaitGroup
	for w := range 4 {
		wait.Go(func() {
			for i := range 1000 {
				_, _ = fmt.Fprintf(l, "%d.%03d\n", w, i)
			}
		})
	}
	wait.Wait()
	if err := l.close(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(r.text(), "\n"); n != 4000 || l.Dropped() != 0 {
		t.Errorf("%d lines written, %d dropped", n, l.Dropped())
	}
}

// A line costs a copy into the buffer, and no memory once the buffer has grown.
func TestALineAllocatesNothing(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	l := newLossy(w, 1<<16, gap) // more than the pipe takes: nobody reads
	one := line(1)
	for l.Dropped() == 0 {
		_, _ = l.Write(one)
	}
	if n := testing.AllocsPerRun(1000, func() { _, _ = l.Write(one) }); n != 0 {
		t.Errorf("a line that is dropped allocates %v times", n)
	}
	if err := errors.Join(r.Close(), l.close(), w.Close()); err != nil {
		t.Error(err)
	}
}
