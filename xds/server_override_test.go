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
	*state.StateFile
	before state.State // what the run before kept
}

func runState(t *testing.T, path string) *keptState {
	t.Helper()
	file, before, err := state.OpenStateFile(path, zap.NewNop(), func(error) {})
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

// keptOrders are those in a file that is at work.
func keptOrders(t *testing.T, path string) []state.Order {
	t.Helper()
	_, kept, err := state.OpenStateFile(path, zap.NewNop(), func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	return kept.Orders
}

func TestOrdersOutliveTheServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	run := func(t *testing.T, do func(*running, *keptState)) {
		file := runState(t, path)
		srv := startServerWith(t, Options{Logger: zap.NewNop(), Observer: &observed{}, Hold: time.Second, Boot: "a", Orders: file})
		srv.config(t, testPod("a", 1), testPod("b", 2), testPod("c", 3))
		if err := srv.Obey(t.Context(), file.before.Orders); err != nil {
			t.Fatal(err)
		}
		do(srv, file)
	}
	t.Run("first", func(t *testing.T) {
		run(t, func(srv *running, file *keptState) {
			for pod, order := range map[string]statefulroute.PodState{"a": statefulroute.Draining, "b": statefulroute.Maintenance, "c": statefulroute.Draining} {
				if err := srv.SetOverride(t.Context(), "chat", pod, order); err != nil {
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
			// A pod that leaves takes its order with it.
			srv.config(t, testPod("b", 2))
			if err := file.Saved(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got, want := keptOrders(t, path), []state.Order{{Service: "chat", Pod: "b", State: "maintenance"}}; !slices.Equal(got, want) {
				t.Errorf("kept %v; want %v", got, want)
			}
		})
	})
	t.Run("third", func(t *testing.T) {
		// An order on a pod that left while nobody was there is dropped for good.
		file := runState(t, path)
		srv := startServerWith(t, Options{Logger: zap.NewNop(), Observer: &observed{}, Hold: time.Second, Boot: "a", Orders: file})
		srv.config(t, testPod("a", 1))
		if err := errors.Join(srv.Obey(t.Context(), file.before.Orders), file.Saved(t.Context())); err != nil {
			t.Fatal(err)
		}
		if got := keptOrders(t, path); len(got) > 0 {
			t.Errorf("kept %v", got)
		}
	})
}

// stubbornKeeper is a disk that hangs until it is told how that ends.
type stubbornKeeper struct {
	ends chan error
	kept chan []state.Order
}

func (k *stubbornKeeper) Keep(orders []state.Order) { k.kept <- orders }

func (k *stubbornKeeper) Saved(ctx context.Context) error {
	select {
	case err := <-k.ends:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A disk that hangs holds up who gave the order, and nobody else; a disk that
// fails is said to who gave it.
func TestADiskThatHangsHoldsUpItsOrderOnly(t *testing.T) {
	keeper := &stubbornKeeper{make(chan error), make(chan []state.Order, 10)}
	srv := startServerWith(t, Options{Logger: zap.NewNop(), Observer: &observed{}, Hold: time.Second, Boot: "a", Orders: keeper})
	srv.config(t, testPod("a", 1), testPod("b", 2), testPod("c", 3))
	if len(keeper.kept) > 0 {
		t.Errorf("orders were given to be kept before those of the run before were known: %v", <-keeper.kept)
	}
	if err := srv.Obey(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	<-keeper.kept
	given := make(chan error)
	for _, pod := range []string{"a", "b", "c"} {
		go func() { given <- srv.SetOverride(t.Context(), "chat", pod, statefulroute.Draining) }()
		await(t, "the order to be in force", func() bool {
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
		t.Errorf("the order that was saved: %v", err)
	}
	full := errors.New("disk full")
	for range 2 {
		keeper.ends <- full
		if err := <-given; !errors.Is(err, state.ErrNotSaved) || !errors.Is(err, full) {
			t.Errorf("an order that was not saved: %v", err)
		}
	}
	for n := 1; n <= 3; n++ {
		if got := <-keeper.kept; len(got) != n {
			t.Errorf("kept %v as the order number %d", got, n)
		}
	}
}
