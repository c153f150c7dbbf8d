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
)

func TestOrdersOutliveTheServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	run := func(t *testing.T, do func(*running, *stateRun)) {
		state := runState(t, path)
		srv := startServerWith(t, Options{Logger: zap.NewNop(), Observer: &observed{}, Hold: time.Second, Boot: "a", Orders: state})
		srv.config(t, testPod("a", 1), testPod("b", 2), testPod("c", 3))
		if err := srv.Obey(t.Context(), state.kept.Orders); err != nil {
			t.Fatal(err)
		}
		do(srv, state)
	}
	t.Run("first", func(t *testing.T) {
		run(t, func(srv *running, state *stateRun) {
			for pod, order := range map[string]statefulroute.PodState{"a": statefulroute.Draining, "b": statefulroute.Maintenance, "c": statefulroute.Draining} {
				if err := srv.SetOverride(t.Context(), "chat", pod, order); err != nil {
					t.Fatal(err)
				}
			}
			if err := srv.SetOverride(t.Context(), "chat", "c", statefulroute.Ready); err != nil {
				t.Fatal(err)
			}
			if err := state.Saved(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	})
	t.Run("second", func(t *testing.T) {
		run(t, func(srv *running, state *stateRun) {
			if got := show(srv.Model()); got != "chat: a@1(draining) b@2(maintenance) c@3" {
				t.Errorf("after a restart: %s", got)
			}
			// A pod that leaves takes its order with it.
			srv.config(t, testPod("b", 2))
			if err := state.Saved(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got, want := mustRead(t, path).Orders, []Order{{"chat", "b", "maintenance"}}; !slices.Equal(got, want) {
				t.Errorf("kept %v; want %v", got, want)
			}
		})
	})
	t.Run("third", func(t *testing.T) {
		// An order on a pod that left while nobody was there is dropped for good.
		state := runState(t, path)
		srv := startServerWith(t, Options{Logger: zap.NewNop(), Observer: &observed{}, Hold: time.Second, Boot: "a", Orders: state})
		srv.config(t, testPod("a", 1))
		if err := errors.Join(srv.Obey(t.Context(), state.kept.Orders), state.Saved(t.Context())); err != nil {
			t.Fatal(err)
		}
		if got := mustRead(t, path).Orders; len(got) > 0 {
			t.Errorf("kept %v", got)
		}
	})
}

func TestAnUnknownOrderIsNotObeyed(t *testing.T) {
	if err := NewDesk().Obey(t0, []Order{{"chat", "a", "odd"}}); err == nil {
		t.Error("an unknown state was obeyed")
	}
}

// dnsDesk is a desk whose one service, chat, has its pods by DNS.
func dnsDesk(t *testing.T) (d *Desk, answer func(now time.Time, pods ...statefulroute.Pod)) {
	t.Helper()
	d = NewDesk()
	svc := testService("chat")
	svc.Pods.DNS = &statefulroute.DNSSource{Host: "chat.internal", Port: 80}
	d.SetConfig(t0, testGateway(), []statefulroute.Service{svc})
	return d, func(now time.Time, pods ...statefulroute.Pod) {
		t.Helper()
		if err := d.SetPods(now, "chat", svc.Pods, pods); err != nil {
			t.Fatal(err)
		}
	}
}

// A DNS answer may lack a pod that is there: the order on it stands when it is
// back, but not for ever.
func TestAnOrderOutlivesAnAnswerThatLacksItsPod(t *testing.T) {
	d, answer := dnsDesk(t)
	a, b := testPod("a", 1), testPod("b", 2)
	answer(t0, a, b)
	if err := errors.Join(d.SetOverride("chat", "b", statefulroute.Draining), d.SetHealth("chat", "b", HealthVerdict{Healthy: false})); err != nil {
		t.Fatal(err)
	}
	answer(t0.Add(time.Hour), a)
	if got := d.Orders(); !slices.Equal(got, []Order{{"chat", "b", "draining"}}) {
		t.Errorf("orders while the pod is away: %v", got)
	}
	answer(t0.Add(time.Hour+orderKeep-time.Second), a, b)
	if got := show(d.Model()); got != "chat: a@1 b@2(draining)" {
		t.Errorf("the pod came back as %s", got)
	}
	answer(t0.Add(2*time.Hour), a)
	answer(t0.Add(2*time.Hour+orderKeep), a)
	answer(t0.Add(2*time.Hour+orderKeep), a, b)
	if got := show(d.Model()); got != "chat: a@1 b@2" || len(d.Orders()) > 0 {
		t.Errorf("long after: %s, orders %v", got, d.Orders())
	}
}

// Answers that are like the one before are not heard of: a pod that was away for
// long is somebody else, though nothing was said in between.
func TestAnOrderEndsThoughNobodySaysThatItsPodIsStillAway(t *testing.T) {
	d, answer := dnsDesk(t)
	a, b := testPod("a", 1), testPod("b", 2)
	answer(t0, a, b)
	if err := d.SetOverride("chat", "b", statefulroute.Draining); err != nil {
		t.Fatal(err)
	}
	answer(t0, a)
	answer(t0.Add(orderKeep), a, b)
	if got := show(d.Model()); got != "chat: a@1 b@2" || len(d.Orders()) > 0 {
		t.Errorf("%s, orders %v", got, d.Orders())
	}
}

// A kept order on a pod of a name that does not resolve at the start waits for
// the first answer.
func TestAKeptOrderWaitsForTheFirstAnswer(t *testing.T) {
	d, answer := dnsDesk(t)
	kept := []Order{{"chat", "a", "maintenance"}, {"chat", "b", "draining"}}
	if err := d.Obey(t0, append(kept, Order{"gone", "c", "draining"})); err != nil {
		t.Fatal(err)
	}
	if got := d.Orders(); !slices.Equal(got, kept) {
		t.Fatalf("before any answer: %v, want %v", got, kept)
	}
	later := t0.Add(24 * time.Hour)
	answer(later, testPod("a", 1))
	answer(later.Add(orderKeep-1), testPod("a", 1), testPod("b", 2))
	if got := show(d.Model()); got != "chat: a@1(maintenance) b@2(draining)" {
		t.Errorf("after the first answers: %s", got)
	}
	if err := d.SetOverride("chat", "a", statefulroute.Ready); err != nil {
		t.Fatal(err)
	}
	if got := d.Orders(); !slices.Equal(got, kept[1:]) {
		t.Errorf("after one was taken back: %v", got)
	}
}

// A list that somebody wrote is somebody's word: an order on a pod that it lacks
// is done with.
func TestAKeptOrderOnAPodOfAStaticListIsDropped(t *testing.T) {
	d := deskWith(testPod("a", 1))
	if err := d.Obey(t0, []Order{{"chat", "b", "draining"}}); err != nil || len(d.Orders()) > 0 {
		t.Errorf("got %v, orders %v", err, d.Orders())
	}
}

// stubbornKeeper is a disk that hangs until it is told how that ends.
type stubbornKeeper struct {
	ends chan error
	kept chan []Order
}

func (k *stubbornKeeper) Keep(orders []Order) { k.kept <- orders }

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
	keeper := &stubbornKeeper{make(chan error), make(chan []Order, 10)}
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
	if err := srv.SetHealth(t.Context(), map[string]map[string]HealthVerdict{"chat": {"a": {}}}); err != nil {
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
		if err := <-given; !errors.Is(err, ErrNotSaved) || !errors.Is(err, full) {
			t.Errorf("an order that was not saved: %v", err)
		}
	}
	for n := 1; n <= 3; n++ {
		if got := <-keeper.kept; len(got) != n {
			t.Errorf("kept %v as the order number %d", got, n)
		}
	}
}
