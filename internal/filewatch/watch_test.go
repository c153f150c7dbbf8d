package filewatch

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

func TestWatchSeesAReplacedFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "x.yaml")
	calls := make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Watch(ctx, file, time.Millisecond, func() { calls <- struct{}{} }) }()
	<-calls // the watch stands
	next := filepath.Join(dir, "next")
	if err := os.WriteFile(next, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, file); err != nil {
		t.Fatal(err)
	}
	select {
	case <-calls:
	case <-time.After(10 * time.Second):
		t.Fatal("a replaced file was not seen")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A file that is replaced is whole at once, one that is written in place is not
// before it was left alone for longer; neither waits for ever.
func TestABurstIsOneCallButNeverStarves(t *testing.T) {
	for name, c := range map[string]struct {
		op            fsnotify.Op
		quiet, atMost time.Duration
	}{
		"replaced": {fsnotify.Create, 50 * time.Millisecond, 500 * time.Millisecond},
		"written":  {fsnotify.Write, 500 * time.Millisecond, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				events, calls, done := make(chan fsnotify.Event), make(chan time.Time, 10), make(chan error)
				go func() {
					done <- debounce(ctx, events, nil, "/x.yaml", defaultQuiet, func() { calls <- time.Now() })
				}()
				start := time.Now()
				for range 5 {
					events <- fsnotify.Event{Name: "/x.yaml", Op: c.op}
					time.Sleep(10 * time.Millisecond)
				}
				if got := (<-calls).Sub(start); got != 40*time.Millisecond+c.quiet {
					t.Errorf("a burst of 40ms was reported after %v, want %v after its end", got, c.quiet)
				}
				start = time.Now()
				for len(calls) == 0 {
					events <- fsnotify.Event{Name: "/x.yaml", Op: c.op}
					time.Sleep(20 * time.Millisecond)
				}
				if got := (<-calls).Sub(start); got < c.atMost/2 || got > c.atMost {
					t.Errorf("an endless burst was reported after %v, want %v at most", got, c.atMost)
				}
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestAYoungFileIsWaitedForAndAnOldOneIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "x.yaml")
		took := func(age time.Duration) time.Duration {
			if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chtimes(file, time.Time{}, time.Now().Add(-age))); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			Settled(t.Context(), file, time.Minute)
			return time.Since(begun)
		}
		for age, want := range map[time.Duration]time.Duration{0: 500 * time.Millisecond, 300 * time.Millisecond: 200 * time.Millisecond, time.Second: 0, -time.Hour: 0} {
			if got := took(age); got != want {
				t.Errorf("touched %v ago: waited %v, want %v", age, got, want)
			}
		}
		begun := time.Now()
		if Settled(t.Context(), file+".gone", time.Minute); time.Since(begun) != 0 {
			t.Error("a missing file was waited for")
		}
	})
}

func TestLostEventsCountAsAChangeAndTheWatchGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		events, errs, done := make(chan fsnotify.Event), make(chan error), make(chan error)
		calls := make(chan struct{}, 10)
		go func() {
			done <- debounce(ctx, events, errs, "/x.yaml", time.Second, func() { calls <- struct{}{} })
		}()
		errs <- fsnotify.ErrEventOverflow
		<-calls
		events <- fsnotify.Event{Name: "/x.yaml", Op: fsnotify.Write}
		<-calls
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestOnlyTheFileAndKubernetesLinkConcern(t *testing.T) {
	for _, test := range []struct {
		name string
		op   fsnotify.Op
		want bool
	}{
		{"/etc/x.yaml", fsnotify.Write, true},
		{"/etc/x.yaml", fsnotify.Create, true},
		{"/etc/x.yaml", fsnotify.Remove, true},
		{"/etc/x.yaml", fsnotify.Chmod, false},
		{"/etc/..data", fsnotify.Create, true},
		{"/etc/orders.json", fsnotify.Create, false},
		{"/etc/.x.yaml.swp", fsnotify.Write, false},
	} {
		if got := concerns(fsnotify.Event{Name: test.name, Op: test.op}, "/etc/x.yaml"); got != test.want {
			t.Errorf("%s %s: %v", test.op, test.name, got)
		}
	}
}

// A ConfigMap's files are links into ..data, itself a link that is swapped.
func TestWatchSeesAKubernetesVolumeChange(t *testing.T) {
	dir := t.TempDir()
	for _, version := range []string{"1", "2"} {
		if err := os.Mkdir(filepath.Join(dir, ".."+version), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, ".."+version, "x.yaml"), []byte(version), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "x.yaml")
	if err := errors.Join(os.Symlink("..1", filepath.Join(dir, "..data")), os.Symlink("..data/x.yaml", file)); err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Watch(ctx, file, time.Millisecond, func() { raw, _ := os.ReadFile(file); seen <- string(raw) })
	}()
	if got := <-seen; got != "1" {
		t.Errorf("at first %q", got)
	}
	if err := errors.Join(os.Symlink("..2", filepath.Join(dir, "..data_tmp")), os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data"))); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-seen:
		if got != "2" {
			t.Errorf("after the swap %q", got)
		}
	case <-time.After(10 * time.Second):
		t.Error("a swapped link was not seen")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A file whose folder is missing is looked at until it can be watched, and again
// when the folder goes and comes back.
func TestFollowDoesNotGiveUp(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	file := filepath.Join(dir, "x.yaml")
	seen, failed := make(chan string), make(chan error, 10)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		follow(ctx, file, time.Millisecond, func() {
			raw, _ := os.ReadFile(file)
			select {
			case seen <- string(raw):
			case <-ctx.Done():
			}
		}, func(err error) { failed <- err })
	}()
	wait := func(want string) {
		t.Helper()
		for deadline := time.After(10 * time.Second); ; {
			select {
			case got := <-seen:
				if got == want {
					return
				}
			case <-deadline:
				t.Fatalf("%q was not seen", want)
			}
		}
	}
	<-failed
	for _, text := range []string{"a", "b"} {
		wait("")
		if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		wait(text)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	<-done
}

func TestAWatchEndsWithItsFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "short-lived")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	stands, done := make(chan struct{}, 100), make(chan error, 1)
	go func() {
		done <- Watch(t.Context(), filepath.Join(dir, "x.yaml"), 0, func() { stands <- struct{}{} })
	}()
	<-stands
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(10 * time.Second):
		t.Error("the watch goes on, of nothing")
	}
}
