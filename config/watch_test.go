package config

import (
	"context"
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

func TestABurstIsOneCallButNeverStarves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		events, calls, done := make(chan fsnotify.Event), make(chan time.Time, 10), make(chan error)
		go func() { done <- debounce(ctx, events, nil, time.Second, func() { calls <- time.Now() }) }()
		start := time.Now()
		for range 5 {
			events <- fsnotify.Event{Op: fsnotify.Write}
			time.Sleep(100 * time.Millisecond)
		}
		if got := (<-calls).Sub(start); got != 1400*time.Millisecond {
			t.Errorf("a burst of 400ms was reported after %v, want one second after its end", got)
		}
		start = time.Now()
		for len(calls) == 0 {
			events <- fsnotify.Event{Op: fsnotify.Write}
			time.Sleep(500 * time.Millisecond)
		}
		if got := (<-calls).Sub(start); got > 10*time.Second {
			t.Errorf("endless writes were reported after %v, want 10s at most", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
