package shared_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/affinity/shared"
	"github.com/stateful-route/stateful-route/affinity/shared/valkeystore"
	"github.com/stateful-route/stateful-route/internal/redistest"
)

// of is a replica in a view.
func of(v shared.View, id string) (r shared.ReplicaView, ok bool) {
	i := slices.IndexFunc(v.Replicas, func(r shared.ReplicaView) bool { return r.ID == id })
	if i < 0 {
		return r, false
	}
	return v.Replicas[i], true
}

func TestEveryReplicaSeesAll(t *testing.T) {
	server := redistest.Start(t)
	a, b := start(t, server.Addr(), "a"), start(t, server.Addr(), "b")
	for _, r := range []*replica{a, b} {
		await(t, r.name+" sees both with a lease", func() bool {
			v := r.View()
			one, knowsA := of(v, "a")
			two, knowsB := of(v, "b")
			return knowsA && knowsB && len(v.Replicas) == 2 && v.State == shared.StateOpen &&
				one.State == shared.StateOpen && two.State == shared.StateOpen && one.Registered && two.Registered &&
				one.Left > 0 && two.Left > 0 && one.Self == (r == a) && two.Self == (r == b)
		})
	}
	va, vb := a.View(), b.View()
	if va.Incarnation == "" || va.Incarnation != vb.Incarnation || va.Lease != lease {
		t.Errorf("%s and %s, a lease of %s", va.Incarnation, vb.Incarnation, va.Lease)
	}
	a.claimed(t, "alice", "chat-0")
	if _, err := b.Move(t.Context(), service, "alice", "chat-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	await(t, "a sees how far b has acted", func() bool {
		v := a.View()
		other, _ := of(v, "b")
		return v.Position == 1 && other.Position == 1
	})
	b.stop()
	await(t, "b is gone", func() bool { _, ok := of(a.View(), "b"); return !ok })
}

func TestASilentReplicaIsSeenWithoutALease(t *testing.T) {
	server := redistest.Start(t)
	a := start(t, server.Addr(), "a")
	attachSilent(t, server.Addr(), "mute")
	seen := false
	await(t, "it is seen with a lease, then without one, and then not at all", func() bool {
		r, ok := of(a.View(), "mute")
		if ok && r.State == shared.StateUnreachable && r.Left == 0 {
			seen = true
		}
		return seen && !ok
	})
}

// attachSilent registers a replica that never renews.
func attachSilent(t *testing.T, addr, name string) {
	t.Helper()
	store, err := valkeystore.New(valkeystore.Options{Addresses: []string{addr}, Prefix: "test:", Lease: lease, Replica: name})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	mute, err := store.Attach(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mute.Join(t.Context(), 0, "", true, shared.Info{Address: "127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
}

func TestWithoutAStoreNobodyIsKnown(t *testing.T) {
	server := redistest.Start(t)
	a, b := start(t, server.Addr(), "a"), start(t, server.Addr(), "b")
	await(t, "a sees b", func() bool { _, ok := of(a.View(), "b"); return ok })
	before := a.View().Incarnation
	server.Kill()
	await(t, "a has no lease", func() bool { return a.Left() <= 0 && b.Left() <= 0 })
	v := a.View()
	self, _ := of(v, "a")
	other, known := of(v, "b")
	switch {
	case v.State != shared.StateUnreachable || v.Reason == "":
		t.Errorf("the store is %s, %q", v.State, v.Reason)
	case self.State != shared.StateUnreachable || self.Left != 0 || self.Registered:
		t.Errorf("this replica: %+v", self)
	case !known || other.State != shared.StateUnknown:
		t.Errorf("the other one: %+v", other)
	}
	server.Restart()
	await(t, "both are seen again", func() bool {
		v := a.View()
		other, _ := of(v, "b")
		return v.State == shared.StateOpen && v.Incarnation != before && other.State == shared.StateOpen
	})
}

// What a replica had to give up is told to all.
func TestConflictsAreTold(t *testing.T) {
	server := redistest.Start(t)
	a, b := start(t, server.Addr(), "a"), start(t, server.Addr(), "b")
	a.claimed(t, "alice", "chat-0")
	b.claimed(t, "bob", "chat-1")
	a.Remember(service, "bob", "chat-0", time.Now())
	await(t, "b sees a's conflict", func() bool {
		r, _ := of(b.View(), "a")
		return r.Info.Conflicts == 1 && a.Conflicts() == 1 && time.Since(r.Info.LastConflict) < time.Minute
	})
	if r, _ := of(a.View(), "a"); r.Info.Conflicts != 1 {
		t.Errorf("a says of itself: %+v", r)
	}
}
