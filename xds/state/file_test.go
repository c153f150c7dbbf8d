package state

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/xds/discovery"
)

// stateRun is a File at work.
type stateRun struct {
	*File
	kept Persisted
	stop func()

	mu      sync.Mutex
	reports []error
}

func runState(t *testing.T, path string) *stateRun {
	t.Helper()
	r := &stateRun{}
	var err error
	r.File, r.kept, err = OpenFile(path, zap.NewNop(), func(err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.reports = append(r.reports, err)
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

func mustRead(t *testing.T, path string) Persisted {
	t.Helper()
	state, err := readState(path)
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func TestStateOutlivesTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	first := runState(t, path)
	if first.kept.Overrides != nil || first.kept.Pods != nil {
		t.Errorf("at first: %+v", first.kept)
	}
	overrides := []Override{{"chat", "a", "draining"}}
	pods := []statefulroute.Pod{testPod("a", 1), testPod("b", 2)}
	pods[0].Zone, pods[0].Weight = "west", 7
	kept := discovery.KeptPods{Source: "dns chat.internal:80", Confirmed: time.Now().UTC().Round(time.Second), Pods: pods}
	first.Keep(overrides)
	first.KeepPods("chat", kept)
	first.KeepPods("gone", kept)
	first.ForgetPods(func(service string) bool { return service == "chat" })
	if err := first.Saved(t.Context()); err != nil {
		t.Fatal(err)
	}
	first.stop()
	second := runState(t, path)
	want := Persisted{Overrides: overrides, Pods: map[string]discovery.KeptPods{"chat": kept}}
	if !reflect.DeepEqual(second.kept, want) {
		t.Errorf("got  %+v\nwant %+v", second.kept, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// The file of a version that kept overrides alone is read, and written anew.
func TestTheOldFormatIsUpgraded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	old := "[\n  {\"service\": \"chat\", \"pod\": \"a\", \"state\": \"draining\"}\n]\n"
	if err := os.WriteFile(path, []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	r := runState(t, path)
	want := []Override{{"chat", "a", "draining"}}
	if !reflect.DeepEqual(r.kept.Overrides, want) {
		t.Errorf("orders: %v", r.kept.Overrides)
	}
	await(t, "the new format", func() bool {
		raw, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(raw), `"version": 1`)
	})
	if got := mustRead(t, path); !reflect.DeepEqual(got.Overrides, want) {
		t.Errorf("in the new format: %v", got.Overrides)
	}
}

func TestAStateThatCannotBeUsedIsSetAside(t *testing.T) {
	for name, text := range map[string]string{
		"cut off":          `{"version": 1, "orders": [{`,
		"cut off, old":     `[{`,
		"another format":   `{"version": 2, "orders": []}`,
		"no override":      `[{"service": "chat", "pod": "a", "state": "odd"}]`,
		"a pod of nowhere": `{"version": 1, "pods": {"chat": {"source": "x", "pods": [{"name": "a"}]}}}`,
		"empty":            ``,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.db")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			file, state, err := OpenFile(path, zap.NewNop(), func(error) {})
			if err == nil || !strings.Contains(err.Error(), path+".damaged") || file == nil || !reflect.DeepEqual(state, Persisted{}) {
				t.Errorf("opened: %v, %+v", err, state)
			}
			if raw, err := os.ReadFile(path + ".damaged"); err != nil || string(raw) != text {
				t.Errorf("set aside: %q, %v", raw, err)
			}
		})
	}
}

// Somebody deletes, replaces, truncates or overwrites the file: soon it is what it
// was.
func TestAFileThatSomebodyChangedIsWrittenAnew(t *testing.T) {
	for what, harm := range map[string]func(path string) error{
		"deleted":     os.Remove,
		"truncated":   func(path string) error { return os.Truncate(path, 0) },
		"overwritten": func(path string) error { return os.WriteFile(path, []byte("[]"), 0o600) },
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+".x", []byte("[]"), 0o600), os.Rename(path+".x", path))
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "state.db")
			r, overrides := runState(t, path), []Override{{"chat", "a", "draining"}}
			r.Keep(overrides)
			if err := errors.Join(r.Saved(t.Context()), harm(path)); err != nil {
				t.Fatal(err)
			}
			await(t, "the file to be written anew", func() bool {
				raw, err := os.ReadFile(path)
				if err != nil {
					return false
				}
				state, err := decodeState(raw)
				return err == nil && reflect.DeepEqual(state.Overrides, overrides)
			})
		})
	}
}

// Overrides that cannot be written are a state with a reason, until they can be.
func TestWhatCannotBeWrittenIsKnown(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "state.db")
	r := runState(t, path)
	if err := r.Saved(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".gone"); err != nil { // as a disk that is gone
		t.Fatal(err)
	}
	overrides := []Override{{"chat", "a", "maintenance"}}
	r.Keep(overrides)
	if err := r.Saved(t.Context()); err == nil || r.Problem() == nil || !strings.Contains(err.Error(), "state.db") {
		t.Errorf("saved where there is nothing: %v, %v", err, r.Problem())
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	await(t, "it to be written later", func() bool { return r.Problem() == nil })
	if got := mustRead(t, path); !reflect.DeepEqual(got.Overrides, overrides) {
		t.Errorf("later: %v", got.Overrides)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.reports) < 3 || r.reports[0] != nil || r.reports[len(r.reports)-1] != nil {
		t.Errorf("reports: %v", r.reports)
	}
}

// A disk that fails is told of once, however often it is tried.
func TestAFailingDiskIsToldOfOnce(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	f, _, err := OpenFile(filepath.Join(t.TempDir(), "gone", "state.db"), zap.New(core), func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		f.look(time.Now())
	}
	if logs.Len() != 1 {
		t.Errorf("told: %v", logs.All())
	}
}

// When a list was confirmed last is not worth a writing of its own each time.
func TestConfirmationsAreWrittenNowAndThen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	f, _, err := OpenFile(path, zap.NewNop(), func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	now, writes := time.Now(), 0
	look := func() {
		before := f.wrote
		if f.look(now); f.wrote != before {
			writes++
		}
	}
	pods := []statefulroute.Pod{testPod("a", 1)}
	f.KeepPods("chat", discovery.KeptPods{Source: "x", Confirmed: now, Pods: pods})
	look()
	for range 130 {
		now = now.Add(time.Second)
		f.KeepPods("chat", discovery.KeptPods{Source: "x", Confirmed: now, Pods: pods})
		look()
	}
	if writes != 3 {
		t.Errorf("%d writings, want one at first and two in two minutes", writes)
	}
	f.KeepPods("chat", discovery.KeptPods{Source: "x", Confirmed: now, Pods: []statefulroute.Pod{testPod("b", 2)}})
	look()
	if writes != 4 {
		t.Errorf("another list was not written")
	}
}

func TestANilStateFileKeepsNothing(*testing.T) {
	var f *File
	f.Keep(nil)
	f.KeepPods("chat", discovery.KeptPods{})
	f.ForgetPods(func(string) bool { return false })
}
