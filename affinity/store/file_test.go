package store

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	statefulroute "github.com/stateful-route/stateful-route"
)

// table is the bindings in force and what a running store says of them.
type table struct {
	*testing.T
	store *Store
	path  string
	stop  func()

	puts    uint64
	mu      sync.Mutex
	truth   map[string]statefulroute.Binding
	reports []error
}

// newTable runs a store that has n bindings in its file.
func newTable(t *testing.T, path string, n int) *table {
	t.Helper()
	ta := &table{T: t, path: path, truth: map[string]statefulroute.Binding{}}
	ta.store, _, ta.stop = open(t, Options{Path: path, OnError: ta.note}, ta.all())
	for i := range n {
		ta.put(binding(i))
	}
	ta.written()
	return ta
}

func (ta *table) note(err error) {
	ta.mu.Lock()
	defer ta.mu.Unlock()
	ta.reports = append(ta.reports, err)
}

func (ta *table) put(b statefulroute.Binding) {
	ta.mu.Lock()
	ta.truth[b.Service+"/"+b.Key] = b
	ta.mu.Unlock()
	ta.puts++
	ta.store.Put(b)
}

func (ta *table) all() iter.Seq[statefulroute.Binding] {
	return func(yield func(statefulroute.Binding) bool) {
		ta.mu.Lock()
		now := maps.Clone(ta.truth)
		ta.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(now)) {
			if !yield(now[key]) {
				return
			}
		}
	}
}

func (ta *table) eventually(what string, holds func() bool) {
	ta.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			ta.mu.Lock()
			defer ta.mu.Unlock()
			ta.Fatalf("waited in vain until %s; %+v; reports: %v", what, ta.store.Stats(), ta.reports)
		}
	}
}

// written waits until the file has every put so far, each of another key, and the
// writer has nothing to do.
func (ta *table) written() {
	ta.Helper()
	ta.eventually("all is in the file", func() bool { return ta.store.Stats().Written == ta.puts })
}

// settle waits until all is written and nothing is wrong.
func (ta *table) settle() {
	ta.Helper()
	ta.eventually("all is written", func() bool {
		s := ta.store.Stats()
		return s.Pending == 0 && s.Trouble == nil && s.Written > 0
	})
}

// expectWhole ends the store and checks that the file has all that was in memory.
func (ta *table) expectWhole() {
	ta.Helper()
	ta.stop()
	ta.mu.Lock()
	defer ta.mu.Unlock()
	if got := contents(ta.T, ta.path); !maps.Equal(got, ta.truth) {
		ta.Errorf("the file has %d bindings, want all %d", len(got), len(ta.truth))
	}
}

// expectReported checks that trouble was told of, and its end.
func (ta *table) expectReported(says string) {
	ta.Helper()
	ta.mu.Lock()
	defer ta.mu.Unlock()
	if n := len(ta.reports); n < 2 || ta.reports[0] == nil || !strings.Contains(ta.reports[0].Error(), says) || ta.reports[n-1] != nil {
		ta.Errorf("reports %v, want one that says %q and nil at last", ta.reports, says)
	}
}

func (ta *table) must(errs ...error) {
	ta.Helper()
	if err := errors.Join(errs...); err != nil {
		ta.Fatal(err)
	}
}

func (ta *table) asides() []string {
	found, err := filepath.Glob(ta.path + ".damaged-*")
	ta.must(err)
	return found
}

// Whatever somebody does to the file under the process, it is noticed without
// a write of ours, and all that is in memory is written anew.
func TestASpoiltFileIsWrittenAnew(t *testing.T) {
	overwrite := func(path string, content []byte) error {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(content)
		return errors.Join(err, f.Close())
	}
	garbage := []byte(strings.Repeat("not a database ", 4000))
	for _, c := range []struct {
		name, says string
		aside      int
		spoil      func(ta *table) error
	}{
		{"deleted", "vanished", 0, func(ta *table) error { return os.Remove(ta.path) }},
		{"its folder moved away and back", "vanished", 0, func(ta *table) error {
			dir := filepath.Dir(ta.path)
			err := os.Rename(dir, dir+"-away")
			ta.eventually("the loss is told", func() bool { return ta.store.Stats().Trouble != nil })
			return errors.Join(err, os.Mkdir(dir, 0o700))
		}},
		{"replaced by something", "another file", 1, func(ta *table) error {
			return errors.Join(os.WriteFile(ta.path+".new", garbage, 0o600), os.Rename(ta.path+".new", ta.path))
		}},
		{"replaced by nothing", "another file", 0, func(ta *table) error {
			return errors.Join(os.WriteFile(ta.path+".new", nil, 0o600), os.Rename(ta.path+".new", ta.path))
		}},
		{"replaced by an older state", "another file", 1, func(ta *table) error {
			old, err := os.ReadFile(ta.path)
			ta.put(binding(1_000_000))
			ta.written()
			return errors.Join(err, os.WriteFile(ta.path+".new", old, 0o600), os.Rename(ta.path+".new", ta.path))
		}},
		{"emptied", "cut short", 0, func(ta *table) error { return os.Truncate(ta.path, 0) }},
		{"halved", "cut short", 1, func(ta *table) error {
			return os.Truncate(ta.path, 9*4096+77)
		}},
		{"overwritten", "somebody else wrote", 1, func(ta *table) error { return overwrite(ta.path, garbage) }},
		{"overwritten with an older state", "somebody else wrote", 1, func(ta *table) error {
			old, err := os.ReadFile(ta.path)
			ta.put(binding(1_000_000))
			ta.written()
			return errors.Join(err, overwrite(ta.path, old))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "store")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			ta := newTable(t, filepath.Join(dir, "pins.db"), 3000)
			ta.must(c.spoil(ta))
			ta.eventually("a new file is begun", func() bool { return ta.store.Stats().Renewals == 1 })
			ta.put(binding(2_000_000))
			ta.settle()
			if n := len(ta.asides()); n != c.aside {
				t.Errorf("%d files are kept aside, want %d", n, c.aside)
			}
			ta.expectWhole()
			ta.expectReported(c.says)
		})
	}
}

// A file that is cut short makes the transactions on it fault. They are ended, and
// the writer goes on with a new file, however often it happens.
func TestAFileThatIsCutShortWhileItIsWritten(t *testing.T) {
	ta := newTable(t, filepath.Join(t.TempDir(), "pins.db"), 2000)
	for round := range 5 {
		before := ta.store.Stats().Renewals
		for i := 0; ta.store.Stats().Renewals == before; i++ {
			if i%50 == 0 {
				if err := os.Truncate(ta.path, int64(i%3)*4096); !errors.Is(err, fs.ErrNotExist) { // it is being replaced
					ta.must(err)
				}
			}
			ta.put(binding(10_000*(round+1) + i%5000))
			if i%20 == 0 {
				time.Sleep(time.Millisecond) // for the writer, which gathers
			}
		}
	}
	ta.settle()
	ta.expectWhole()
}

// What another process has open in the file's place is left alone until it lets go.
func TestAnotherProcessesFileIsLeftAlone(t *testing.T) {
	ta := newTable(t, filepath.Join(t.TempDir(), "pins.db"), 100)
	other, err := bolt.Open(ta.path+".new", 0o600, nil)
	ta.must(err, os.Rename(ta.path+".new", ta.path))
	ta.eventually("the loss is told", func() bool {
		err := ta.store.Stats().Trouble
		return err != nil && strings.Contains(err.Error(), "another process uses")
	})
	if n := len(ta.asides()); n != 0 {
		t.Errorf("%d files were moved aside", n)
	}
	ta.must(other.Close())
	ta.settle()
	ta.expectWhole()
}

// Reading, copying or touching the file is no harm, and neither is a file system
// that tells the time of a write late.
func TestATouchedFileIsKept(t *testing.T) {
	ta := newTable(t, filepath.Join(t.TempDir(), "pins.db"), 100)
	later := time.Now().Add(time.Hour)
	ta.must(os.Chtimes(ta.path, later, later))
	ta.eventually("it was looked at", func() bool {
		ta.put(binding(0)) // so that it may be written, too
		return ta.store.Stats().Transactions > 20
	})
	ta.settle()
	if s := ta.store.Stats(); s.Renewals != 0 {
		t.Errorf("%+v", s)
	}
	ta.expectWhole()
	if len(ta.reports) > 0 {
		t.Errorf("reports: %v", ta.reports)
	}
}

// A disk that fails to open a new file is told of as long as it does.
func TestANewFileThatCannotBeMade(t *testing.T) {
	var broken struct {
		sync.Mutex
		err error
	}
	set := func(err error) {
		broken.Lock()
		defer broken.Unlock()
		broken.err = err
	}
	path := filepath.Join(t.TempDir(), "pins.db")
	ta := &table{T: t, path: path, truth: map[string]statefulroute.Binding{}}
	ta.store, _, ta.stop = open(t, Options{Path: path, OnError: ta.note, openFile: func(name string, flag int, perm os.FileMode) (*os.File, error) {
		broken.Lock()
		defer broken.Unlock()
		if broken.err != nil {
			return nil, broken.err
		}
		return os.OpenFile(name, flag, perm)
	}}, ta.all())
	ta.put(binding(1))
	ta.settle()
	set(fmt.Errorf("a disk of a test: %w", os.ErrPermission))
	ta.must(os.Remove(path))
	ta.put(binding(2))
	ta.eventually("it is told that there is no new file", func() bool {
		err := ta.store.Stats().Trouble
		return errors.Is(err, errVanished) && errors.Is(err, os.ErrPermission)
	})
	set(nil)
	ta.settle()
	ta.expectWhole()
	ta.expectReported("vanished")
}
