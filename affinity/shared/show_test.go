package shared_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/internal/redistest"
)

// shown is a mirror of a replica's table: the pods of the sessions that it shows, by key.
type shown struct{ pods sync.Map }

func (s *shown) Show(_, key, pod string, _ time.Duration, _ uint64) bool {
	s.pods.Store(key, pod)
	return true
}

func (s *shown) Withdraw(_, key string) { s.pods.Delete(key) }

func (s *shown) Used(_, key string) (n uint32, age time.Duration, ok bool) {
	_, ok = s.pods.Load(key)
	return 0, 0, ok
}

// Recent implements affinity.Mirror: nothing is used here.
func (s *shown) Recent(to []uint64, _, _ int, _ time.Duration) []uint64 { return to }

func (s *shown) has(key, pod string) bool {
	is, ok := s.pods.Load(key)
	return ok && is == pod
}

// What another replica moves, deletes or fences is shown nowhere any more when that is in
// force.
func TestShowUntilRevoked(t *testing.T) {
	server := redistest.Start(t).Addr()
	a, b := start(t, server, "a"), start(t, server, "b")
	for _, key := range []string{"moved", "deleted", "lost"} {
		a.show(t, key, "pod-1")
	}
	if _, err := b.Move(t.Context(), service, "moved", "pod-2", time.Now()); err != nil || a.shown.has("moved", "pod-1") {
		t.Errorf("moved: %v, and the old pod is shown: %v", err, a.shown.has("moved", "pod-1"))
	}
	if err := b.Delete(t.Context(), service, "deleted"); err != nil || a.shown.has("deleted", "pod-1") {
		t.Errorf("deleted: %v, and shown: %v", err, a.shown.has("deleted", "pod-1"))
	}
	lost, err := b.Find(t.Context(), service, "lost", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b.lost.Store("pod-1", true)
	if to, err := b.Rebind(t.Context(), lost, "pod-2", 0, time.Now()); err != nil || a.shown.has("lost", "pod-1") {
		t.Errorf("rebound to %+v, %v, and the lost pod is shown: %v", to, err, a.shown.has("lost", "pod-1"))
	}
}

// Who answers in a replica's stead may do so as long as the replica itself, and not when it
// has left the register.
func TestOthersAnswerByTheLease(t *testing.T) {
	a := start(t, redistest.Start(t).Addr(), "a")
	await(t, "the lease was prolonged", func() bool { return a.until.Load() > int64(lease) })
	a.stop()
	if until := a.until.Load(); until != 0 {
		t.Errorf("after the end the lease runs until %s", time.Duration(until))
	}
}

// show claims a session and has it shown.
func (r *replica) show(t *testing.T, key, pod string) {
	t.Helper()
	r.claimed(t, key, pod)
	b, err := r.Lookup(t.Context(), service, key, time.Now())
	if err != nil || !r.Show(b, time.Now()) || !r.shown.has(key, pod) {
		t.Fatalf("%+v is not shown: %v", b, err)
	}
}
