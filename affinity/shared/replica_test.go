package shared_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/affinity/shared"
	"github.com/stateful-route/stateful-route/affinity/shared/valkeystore"
	"github.com/stateful-route/stateful-route/internal/redistest"
)

const (
	service = "chat"
	lease   = 600 * time.Millisecond
	// patience bounds waits for what has to happen, on a busy machine.
	patience = 30 * time.Second
)

// replica is one process's table in a test.
type replica struct {
	*shared.Table
	name  string
	calls sync.Map // how often the store was called, by the name of the call
	lost  sync.Map // pods that it may not send sessions to
	shown shown
	until atomic.Int64 // when others may not answer in its stead any more
	stop  func()
}

func (r *replica) called(name string) int64 {
	n, ok := r.calls.Load(name)
	if !ok {
		return 0
	}
	return n.(*atomic.Int64).Load()
}

// start runs a replica until the test ends, or stop is called.
func start(t *testing.T, addr, name string) *replica {
	t.Helper()
	return startLeased(t, addr, name, lease)
}

func startLeased(t *testing.T, addr, name string, lease time.Duration) *replica {
	t.Helper()
	r := &replica{name: name}
	store, err := valkeystore.New(valkeystore.Options{
		Addresses: []string{addr}, Prefix: "test:", Lease: lease, Replica: name,
		OnCall: func(call string, _ time.Duration, _ error) {
			n, _ := r.calls.LoadOrStore(call, &atomic.Int64{})
			n.(*atomic.Int64).Add(1)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	uses := &shared.Uses{}
	local, err := affinity.New(affinity.Options{Journal: uses, ForgetEvicted: true, Mirror: &r.shown})
	if err != nil {
		t.Fatal(err)
	}
	r.Table, err = shared.New(shared.Options{
		Store: store, Local: local, Uses: uses, Replica: name, Lease: lease, CallTimeout: 5 * time.Second,
		Serves:  func(_, pod string) bool { _, lost := r.lost.Load(pod); return !lost },
		OnLease: func(until time.Duration) { r.until.Store(int64(until)) },
		Log:     zaptest.NewLogger(t).Named(name),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.SetIdleTimeout(service, time.Minute)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	var once sync.Once
	r.stop = func() {
		once.Do(func() {
			cancel()
			<-done
			store.Close()
		})
	}
	t.Cleanup(r.stop)
	await(t, name+" has a lease", func() bool { return r.Left() > 0 })
	return r
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// request is what a request of a session does: it looks, and claims if it must.
func (r *replica) request(ctx context.Context, key, pod string) (statefulroute.Binding, error) {
	b, err := r.Lookup(ctx, service, key, time.Now())
	if errors.Is(err, statefulroute.ErrGone) {
		b, err = r.Claim(ctx, service, key, pod, 0, time.Now())
		if errors.Is(err, statefulroute.ErrConflict) {
			err = nil
		}
	}
	return b, err
}

// claimed awaits that the store takes changes, and claims.
func (r *replica) claimed(t *testing.T, key, pod string) statefulroute.Binding {
	t.Helper()
	var b statefulroute.Binding
	var err error
	await(t, "the claim of "+key+" at "+r.name, func() bool {
		b, err = r.request(t.Context(), key, pod)
		return err == nil
	})
	return b
}

func TestTheFirstClaimHoldsEverywhere(t *testing.T) {
	server := redistest.Start(t)
	a, b := start(t, server.Addr(), "a"), start(t, server.Addr(), "b")
	first := a.claimed(t, "alice", "chat-0")
	for range 3 {
		second := b.claimed(t, "alice", "chat-1")
		if second.Pod != "chat-0" || second.Epoch != first.Epoch {
			t.Errorf("%s has %s at %d, %s %s at %d", a.name, first.Pod, first.Epoch, b.name, second.Pod, second.Epoch)
		}
	}
	if n := b.called("claim"); n != 1 {
		t.Errorf("the store was asked %d times by %s, want once", n, b.name)
	}
}

func TestAMoveIsInForceEverywhereWhenItReturns(t *testing.T) {
	server := redistest.Start(t)
	a, b, c := start(t, server.Addr(), "a"), start(t, server.Addr(), "b"), start(t, server.Addr(), "c")
	a.claimed(t, "alice", "chat-0")
	b.claimed(t, "alice", "chat-0")
	for i := range 20 {
		to := fmt.Sprint("chat-", i%3)
		moved, err := c.Move(t.Context(), service, "alice", to, time.Now())
		if err != nil || moved.Pod != to {
			t.Fatalf("move to %s: %+v, %v", to, moved, err)
		}
		for _, r := range []*replica{a, b, c} {
			if got := r.claimed(t, "alice", "elsewhere"); got.Pod != to || got.Epoch != moved.Epoch {
				t.Fatalf("%s says %s at %d after the move to %s at %d", r.name, got.Pod, got.Epoch, to, moved.Epoch)
			}
		}
	}
}

func TestALostPodIsFencedOnceAndItsSessionsGoOn(t *testing.T) {
	server := redistest.Start(t)
	a, b := start(t, server.Addr(), "a"), start(t, server.Addr(), "b")
	const sessions = 50
	old := map[string]statefulroute.Binding{}
	for i := range sessions {
		key := fmt.Sprint("s-", i)
		old[key] = a.claimed(t, key, "chat-0")
		b.claimed(t, key, "chat-0")
	}
	a.lost.Store("chat-0", true)
	for key, was := range old {
		now, err := a.Rebind(t.Context(), was, "chat-1", 0, time.Now())
		if err != nil || now.Pod != "chat-1" || now.PreviousPod != "chat-0" || now.Epoch <= was.Epoch {
			t.Fatalf("rebind: %+v, %v", now, err)
		}
		if got := b.claimed(t, key, "chat-2"); got.Pod != "chat-1" || got.Epoch != now.Epoch {
			t.Fatalf("%s says %s", b.name, got.Pod)
		}
	}
	if n := a.called("fence"); n != 1 {
		t.Errorf("%d calls to fence the pod, want 1", n)
	}
	if _, err := b.Claim(t.Context(), service, "new", "chat-0", 0, time.Now()); !errors.Is(err, statefulroute.ErrPodRefused) {
		t.Errorf("a claim of the lost pod: %v", err)
	}
	a.lost.Delete("chat-0")
	await(t, "the pod is in service again", func() bool {
		_, err := b.Claim(t.Context(), service, "newer", "chat-0", 0, time.Now())
		return err == nil
	})
}

func TestAReplicaWithoutAStoreKnowsWhatItKnewAndMayNotSayIt(t *testing.T) {
	server := redistest.Start(t)
	a := start(t, server.Addr(), "a")
	a.claimed(t, "alice", "chat-0")
	server.Stop()
	await(t, "the lease runs out", func() bool { return a.Left() <= 0 })
	b, err := a.Lookup(t.Context(), service, "alice", time.Now())
	if !errors.Is(err, statefulroute.ErrUnavailable) || b.Pod != "chat-0" {
		t.Errorf("without a lease: %+v, %v", b, err)
	}
	server.Continue()
	await(t, "the lease goes on", func() bool {
		b, err = a.Lookup(t.Context(), service, "alice", time.Now())
		return err == nil
	})
	if b.Pod != "chat-0" {
		t.Errorf("after it: %s", b.Pod)
	}
}

func TestWhatAServerLostIsPutBack(t *testing.T) {
	server := redistest.Start(t)
	a, b := start(t, server.Addr(), "a"), start(t, server.Addr(), "b")
	old := map[string]statefulroute.Binding{}
	for i := range 500 {
		key := fmt.Sprint("s-", i)
		old[key] = a.claimed(t, key, fmt.Sprint("chat-", i%3))
	}
	b.claimed(t, "b's own", "chat-1")
	server.Kill()
	server.Restart()
	for key, was := range old {
		got := b.claimed(t, key, "elsewhere")
		if got.Pod != was.Pod || got.Epoch != was.Epoch {
			t.Fatalf("%s: %s at %d, it was %s at %d", key, got.Pod, got.Epoch, was.Pod, was.Epoch)
		}
	}
	if got := a.claimed(t, "b's own", "elsewhere"); got.Pod != "chat-1" {
		t.Errorf("b's own is at %s", got.Pod)
	}
	if newer := a.claimed(t, "new", "chat-0"); newer.Epoch <= old["s-499"].Epoch {
		t.Errorf("a new epoch %d is not above %d", newer.Epoch, old["s-499"].Epoch)
	}
}

// A replica that is asked in the moment in which another one has begun an incarnation asks
// that, and refuses nothing.
func TestARequestMeetsAnotherIncarnation(t *testing.T) {
	server := redistest.Start(t)
	a, b := start(t, server.Addr(), "a"), start(t, server.Addr(), "b")
	var known []statefulroute.Binding
	for i := range 5 {
		known = append(known, a.claimed(t, fmt.Sprint("s-", i), "chat-0"))
	}
	b.claimed(t, "other", "chat-1")
	third, err := valkeystore.New(valkeystore.Options{Addresses: []string{server.Addr()}, Prefix: "test:", Lease: lease, Replica: "c"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(third.Close)
	was, err := third.Attach(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := third.Attach(t.Context(), was.Incarnation()); err != nil {
		t.Fatal(err)
	}
	for _, want := range known {
		if got, err := b.Find(t.Context(), service, want.Key, time.Now()); err != nil || got.Pod != want.Pod || got.Epoch != want.Epoch {
			t.Errorf("%s is at %q in epoch %d, %v; want %s in %d", want.Key, got.Pod, got.Epoch, err, want.Pod, want.Epoch)
		}
	}
}

// The server's clock was set while one replica alone was registered: what the server has may
// have expired too early, and another replica that comes must not find it gone.
func TestAStepOfTheClockIsNoticedByOneReplicaAlone(t *testing.T) {
	server := redistest.Start(t)
	a := start(t, server.Addr(), "a")
	want := a.claimed(t, "alice", "chat-0")
	// As if the clock had been set two hours forward: the record has expired, too.
	for _, command := range []string{`HINCRBY {test:}store tick -7200000`, `DEL "{test:}s:chat\x00alice"`} {
		if said, err := server.Do(command); err != nil || strings.HasPrefix(said, "-") || said == ":0" {
			t.Fatalf("%s: %s, %v", command, said, err)
		}
	}
	renewed := a.called("renew")
	await(t, "a renews its lease", func() bool { return a.called("renew") > renewed+1 })
	b := start(t, server.Addr(), "b")
	if got := b.claimed(t, "alice", "chat-1"); got.Pod != want.Pod || got.Epoch != want.Epoch {
		t.Errorf("alice is at %s in epoch %d, it was %s in %d", got.Pod, got.Epoch, want.Pod, want.Epoch)
	}
}

func TestAReplicaThatLeavesIsNotWaitedFor(t *testing.T) {
	server := redistest.Start(t)
	a, b := start(t, server.Addr(), "a"), start(t, server.Addr(), "b")
	a.claimed(t, "alice", "chat-0")
	b.stop()
	if said, err := server.Do("HLEN {test:}at"); err != nil || said != ":1" {
		t.Errorf("registered after it left: %s, %v", said, err)
	}
	if _, err := a.Move(t.Context(), service, "alice", "chat-1", time.Now()); err != nil {
		t.Error(err)
	}
}

func TestSessionsOfAllReplicasAreListedCountedAndForgotten(t *testing.T) {
	server := redistest.Start(t)
	a, b := start(t, server.Addr(), "a"), start(t, server.Addr(), "b")
	want := map[string]string{}
	for i := range 700 {
		key, pod := fmt.Sprint("s-", i), fmt.Sprint("chat-", i%3)
		want[key] = pod
		[]*replica{a, b}[i%2].claimed(t, key, pod)
	}
	got := map[string]string{}
	for after := ""; ; {
		page, next, err := a.List(t.Context(), service, "", 100, after)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page {
			got[s.Key] = s.Pod
		}
		if after = next; next == "" {
			break
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d of %d sessions are listed", len(got), len(want))
	}
	for key, pod := range got {
		if want[key] != pod {
			t.Errorf("%s is listed at %s", key, pod)
		}
	}
	await(t, "the counts", func() bool { return a.PodSessions(service, "chat-0") == 234 && b.PodSessions(service, "chat-2") == 233 })
	if _, _, err := a.List(t.Context(), service, "", 100, "nonsense"); !errors.Is(err, statefulroute.ErrCursor) {
		t.Errorf("a cursor that is none: %v", err)
	}
	if err := b.Delete(t.Context(), service, "s-0"); err != nil {
		t.Error(err)
	}
	if err := a.Delete(t.Context(), service, "s-0"); !errors.Is(err, statefulroute.ErrGone) {
		t.Errorf("deleted twice: %v", err)
	}
	if n, err := b.Flush(t.Context(), service); err != nil || n != 699 {
		t.Errorf("flush: %d, %v", n, err)
	}
	if fresh := a.claimed(t, "s-1", "chat-9"); fresh.Pod != "chat-9" {
		t.Errorf("after the flush s-1 is at %s", fresh.Pod)
	}
}

// A session that began while nobody could be asked stays where it was sent, and the store is
// told. Should the store have another binding, that is in force, and counts.
func TestWhatBeganWithoutAStoreIsPutThere(t *testing.T) {
	server := redistest.Start(t)
	a, b := start(t, server.Addr(), "a"), start(t, server.Addr(), "b")
	b.claimed(t, "elsewhere", "chat-0")
	server.Stop()
	await(t, "the leases run out", func() bool { return a.Left() <= 0 && b.Left() <= 0 })
	a.Remember(service, "fresh", "chat-1", time.Now())
	a.Remember(service, "elsewhere", "chat-2", time.Now())
	got, err := a.Lookup(t.Context(), service, "fresh", time.Now())
	if !errors.Is(err, statefulroute.ErrUnavailable) || got.Pod != "chat-1" || got.Epoch != 0 {
		t.Errorf("without a store: %+v, %v", got, err)
	}
	server.Continue()
	// Its lease goes on when it has told the store; who asked before would bind the session anew.
	await(t, "the lease goes on", func() bool { return a.Left() > 0 })
	if got := b.claimed(t, "fresh", "chat-0"); got.Pod != "chat-1" || got.Epoch == 0 {
		t.Errorf("fresh is on %s at %d, it was sent to chat-1", got.Pod, got.Epoch)
	}
	await(t, "the conflict counts", func() bool { return a.Conflicts() == 1 })
	if got := a.claimed(t, "elsewhere", "chat-2"); got.Pod != "chat-0" {
		t.Errorf("elsewhere is on %s", got.Pod)
	}
}

// What a replica bound while nobody could be asked yields to what another one was told by the
// store, also where the store has lost that and has it put back; if there is no other, it
// gets an epoch.
func TestWhatBeganWithoutAStoreYields(t *testing.T) {
	server := redistest.Start(t)
	a, b := start(t, server.Addr(), "a"), start(t, server.Addr(), "b")
	known := map[string]statefulroute.Binding{}
	for i := range 50 {
		key := fmt.Sprint("s-", i)
		known[key] = b.claimed(t, key, "chat-0")
	}
	server.Kill()
	await(t, "the leases run out", func() bool { return a.Left() <= 0 && b.Left() <= 0 })
	for key := range known {
		a.Remember(service, key, "chat-1", time.Now())
	}
	a.Remember(service, "fresh", "chat-1", time.Now())
	server.Restart()
	await(t, "the leases go on", func() bool { return a.Left() > 0 && b.Left() > 0 })
	for key, was := range known {
		for _, r := range []*replica{a, b} {
			if got := r.claimed(t, key, "chat-2"); got.Pod != was.Pod || got.Epoch != was.Epoch {
				t.Fatalf("%s at %s: %s at %d, it was %s at %d", key, r.name, got.Pod, got.Epoch, was.Pod, was.Epoch)
			}
		}
	}
	if got := b.claimed(t, "fresh", "chat-2"); got.Pod != "chat-1" || got.Epoch <= known["s-0"].Epoch {
		t.Errorf("fresh is on %s at %d", got.Pod, got.Epoch)
	}
	if n := a.Conflicts() + b.Conflicts(); n != uint64(len(known)) {
		t.Errorf("%d conflicts, want %d", n, len(known))
	}
}

// A session ends as the binding that it had, and as no other.
func TestASessionEndsAsItsBinding(t *testing.T) {
	server := redistest.Start(t)
	a, b := start(t, server.Addr(), "a"), start(t, server.Addr(), "b")
	old := a.claimed(t, "alice", "chat-0")
	b.claimed(t, "alice", "chat-0")
	moved, err := b.Move(t.Context(), service, "alice", "chat-1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	unconfirmed := old
	unconfirmed.Epoch = 0
	for _, not := range []statefulroute.Binding{old, unconfirmed} {
		if err := a.End(t.Context(), not, time.Now()); !errors.Is(err, statefulroute.ErrGone) {
			t.Errorf("end of another binding: %v", err)
		}
	}
	if got := b.claimed(t, "alice", "chat-2"); got.Epoch != moved.Epoch {
		t.Errorf("it is %s at %d, it was moved to %s at %d", got.Pod, got.Epoch, moved.Pod, moved.Epoch)
	}
	if err := a.End(t.Context(), moved, time.Now()); err != nil {
		t.Error(err)
	}
	if got := b.claimed(t, "alice", "chat-2"); got.Pod != "chat-2" || got.Epoch <= moved.Epoch {
		t.Errorf("after its end it is on %s at %d", got.Pod, got.Epoch)
	}
}

// One that was made while nobody could be asked ends here, and the store never hears of it.
func TestAnUnconfirmedSessionEndsHere(t *testing.T) {
	server := redistest.Start(t)
	a := start(t, server.Addr(), "a")
	a.claimed(t, "other", "chat-0")
	server.Stop()
	await(t, "the lease runs out", func() bool { return a.Left() <= 0 })
	a.Remember(service, "fresh", "chat-1", time.Now())
	got, err := a.Lookup(t.Context(), service, "fresh", time.Now())
	if !errors.Is(err, statefulroute.ErrUnavailable) {
		t.Fatal(err)
	}
	if err := a.End(t.Context(), got, time.Now()); err != nil {
		t.Error(err)
	}
	server.Continue()
	await(t, "the lease goes on", func() bool { return a.Left() > 0 })
	if got := a.claimed(t, "fresh", "chat-2"); got.Pod != "chat-2" {
		t.Errorf("fresh is on %s", got.Pod)
	}
}
