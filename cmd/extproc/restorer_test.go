package main

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/store"
	"github.com/stateful-route/stateful-route/config"
)

// keep writes a file with the bindings.
func keep(t *testing.T, path string, bindings ...statefulroute.Binding) {
	t.Helper()
	s, _, err := store.Open(store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bindings {
		s.Put(b)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Run(ended, nil); err != nil {
		t.Fatal(err)
	}
}

// kept are the keys in a file that nobody uses.
func kept(t *testing.T, path string) []string {
	t.Helper()
	s, found, err := store.Open(store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	keys := map[string]bool{}
	for _, b := range found.Bindings {
		keys[b.Key] = true
	}
	return slices.Sorted(maps.Keys(keys))
}

// idleFor is a binding that was used that long ago.
func idleFor(service, key string, d time.Duration) statefulroute.Binding {
	seen := time.Now().Add(-d)
	return statefulroute.Binding{Service: service, Key: key, Pod: "chat-0", Created: seen, LastSeen: seen, Requests: 2}
}

// What expires by the default is restored all the same if its service says so, which is
// known only when the service comes. Until then it waits in the file.
func TestBindingsWaitForTheirIdleTimeout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.db")
	keep(t, path, idleFor("chat", "rested", 3*time.Hour), idleFor("chat", "expired", 30*time.Hour),
		idleFor("gone", "recent", time.Minute), idleFor("gone", "old", 3*time.Hour))
	withStore := func(o *Options) { o.Config.Store.Memory = &config.MemoryStore{Path: path} }

	a, _, stop := startApp(t, withStore)
	if n := a.table.Stats().Size; n != 0 {
		t.Errorf("%d bindings are restored before any service is known", n)
	}
	stop()
	if keys := kept(t, path); len(keys) != 4 {
		t.Errorf("a process that saw no service left %q", keys)
	}

	a, _, stop = startApp(t, withStore)
	chat := service()
	chat[0].Service.Session.IdleTimeout = 24 * time.Hour
	a.directory.Set(chat, false)
	if _, ok := a.table.Peek("chat", "rested", time.Now()); !ok || a.table.Stats().Size != 1 {
		t.Errorf("%d bindings restored with their service, the right one: %v", a.table.Stats().Size, ok)
	}
	// All services are known: those of one that is gone expire by the default.
	a.directory.Set(chat, true)
	if _, ok := a.table.Peek("gone", "recent", time.Now()); !ok || a.table.Stats().Size != 2 {
		t.Errorf("%d bindings restored in the end, that of a service that is gone: %v", a.table.Stats().Size, ok)
	}
	stop()
	if keys := kept(t, path); !slices.Equal(keys, []string{"recent", "rested"}) {
		t.Errorf("the file has %q", keys)
	}
}

// Of more bindings than there is room for the most recently seen are restored, whichever
// service comes first.
func TestTheNewestOfAllServicesAreRestored(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.db")
	var bindings []statefulroute.Binding
	for i := range 20 {
		bindings = append(bindings, idleFor([]string{"chat", "gone"}[i%2], fmt.Sprintf("%02d", i), time.Duration(20-i)*time.Minute/2))
	}
	keep(t, path, bindings...)
	a, _, stop := startApp(t, func(o *Options) {
		o.Config.Store.Memory = &config.MemoryStore{Path: path}
		o.Config.Affinity.Capacity = 10
	})
	a.directory.Set(service(), true)
	stop()
	want := []string{"10", "11", "12", "13", "14", "15", "16", "17", "18", "19"}
	if keys := kept(t, path); !slices.Equal(keys, want) {
		t.Errorf("the file has %q", keys)
	}
}

// What the file says of epochs reaches the table, also where the binding itself does not.
func TestEpochsGoOnAboveThoseOfTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.db")
	old := idleFor("chat", "k", 100*time.Hour)
	old.Epoch = uint64(time.Now().Add(time.Hour).UnixMilli()) // the wall clock was set back since
	keep(t, path, old)
	a, _, stop := startApp(t, func(o *Options) { o.Config.Store.Memory = &config.MemoryStore{Path: path} })
	a.directory.Set(service(), true)
	b, won, err := a.table.Claim("chat", "k", "chat-1", time.Now())
	if stop(); err != nil || !won || b.Epoch <= old.Epoch {
		t.Errorf("%+v, %v, %v: want an epoch above %d", b, won, err, old.Epoch)
	}
}
