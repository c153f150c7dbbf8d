package xds

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/xds/state"
)

// keptState is a state file at work.
type keptState struct {
	*state.File
	before state.Persisted // what the run before kept
}

func runState(t *testing.T, path string) *keptState {
	t.Helper()
	file, before, err := state.OpenFile(path, zap.NewNop(), func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- file.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &keptState{file, before}
}

// keptOverrides are those in a file that is at work.
func keptOverrides(t *testing.T, path string) []state.Override {
	t.Helper()
	_, kept, err := state.OpenFile(path, zap.NewNop(), func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	return kept.Overrides
}

func TestOrdersOutliveTheServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	run := func(t *testing.T, do func(*running, *keptState)) {
		file := runState(t, path)
		srv := startServerWith(t, Options{Logger: zap.NewNop(), Observer: &observed{}, AckTimeout: time.Second, Boot: "a", Overrides: file})
		srv.config(t, testPod("a", 1), testPod("b", 2), testPod("c", 3))
		if err := srv.Restore(t.Context(), file.before.Overrides); err != nil {
			t.Fatal(err)
		}
		do(srv, file)
	}
	t.Run("first", func(t *testing.T) {
		run(t, func(srv *running, file *keptState) {
			for pod, to := range map[string]statefulroute.PodState{"a": statefulroute.Draining, "b": statefulroute.Maintenance, "c": statefulroute.Draining} {
				if err := srv.SetOverride(t.Context(), "chat", pod, to); err != nil {
					t.Fatal(err)
				}
			}
			if err := srv.SetOverride(t.Context(), "chat", "c", statefulroute.Ready); err != nil {
				t.Fatal(err)
			}
			if err := file.Saved(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("second", func(t *testing.T) {
		run(t, func(srv *running, file *keptState) {
			if got := show(srv.Model()); got != "chat: a@1(draining) b@2(maintenance) c@3" {
				t.Errorf("after a restart: %s", got)
			}
			// A pod that leaves takes its override with it.
			srv.config(t, testPod("b", 2))
			if err := file.Saved(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got, want := keptOverrides(t, path), []state.Override{{Service: "chat", Pod: "b", State: "maintenance"}}; !slices.Equal(got, want) {
				t.Errorf("kept %v; want %v", got, want)
			}
		})
	})
	t.Run("third", func(t *testing.T) {
		// An override on a pod that left while nobody was there is dropped for good.
		file := runState(t, path)
		srv := startServerWith(t, Options{Logger: zap.NewNop(), Observer: &observed{}, AckTimeout: time.Second, Boot: "a", Overrides: file})
		srv.config(t, testPod("a", 1))
		if err := errors.Join(srv.Restore(t.Context(), file.before.Overrides), file.Saved(t.Context())); err != nil {
			t.Fatal(err)
		}
		if got := keptOverrides(t, path); len(got) > 0 {
			t.Errorf("kept %v", got)
		}
	})
}

// stubbornKeeper is a disk that hangs until it is told how that ends.
type stubbornKeeper struct {
	ends chan error
	kept chan []state.Override
}

func (k *stubbornKeeper) Keep(overrides []state.Override) { k.kept <- overrides }

func (k *stubbornKeeper) Saved(ctx context.Context) error {
	select {
	case err := <-k.ends:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A disk that hangs holds up who gave the override, and nobody else; a disk that
// fails is said to who gave it.
func TestADiskThatHangsHoldsUpItsOverrideOnly(t *testing.T) {
	keeper := &stubbornKeeper{make(chan error), make(chan []state.Override, 10)}
	srv := startServerWith(t, Options{Logger: zap.NewNop(), Observer: &observed{}, AckTimeout: time.Second, Boot: "a", Overrides: keeper})
	srv.config(t, testPod("a", 1), testPod("b", 2), testPod("c", 3))
	if len(keeper.kept) > 0 {
		t.Errorf("overrides were given to be kept before those of the run before were known: %v", <-keeper.kept)
	}
	if err := srv.Restore(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	<-keeper.kept
	given := make(chan error)
	for _, pod := range []string{"a", "b", "c"} {
		go func() { given <- srv.SetOverride(t.Context(), "chat", pod, statefulroute.Draining) }()
		await(t, "the override to be in force", func() bool {
			m := srv.Model().Services[0].Members[slices.Index([]string{"a", "b", "c"}, pod)]
			return m.State == statefulroute.Draining
		})
	}
	if err := srv.SetHealth(t.Context(), map[string]map[string]state.HealthVerdict{"chat": {"a": {}}}); err != nil {
		t.Error(err)
	}
	if got := show(srv.Model()); got != "chat: a@1(unhealthy) b@2(draining) c@3(draining)" {
		t.Errorf("while the disk hangs: %s", got)
	}
	keeper.ends <- nil
	if err := <-given; err != nil {
		t.Errorf("the override that was saved: %v", err)
	}
	full := errors.New("disk full")
	for range 2 {
		keeper.ends <- full
		if err := <-given; !errors.Is(err, state.ErrNotSaved) || !errors.Is(err, full) {
			t.Errorf("an override that was not saved: %v", err)
		}
	}
	for n := 1; n <= 3; n++ {
		if got := <-keeper.kept; len(got) != n {
			t.Errorf("kept %v as the override number %d", got, n)
		}
	}
}
