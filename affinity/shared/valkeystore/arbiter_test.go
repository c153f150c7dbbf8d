package valkeystore_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/affinity/shared"
	"github.com/stateful-route/stateful-route/affinity/shared/valkeystore"
	"github.com/stateful-route/stateful-route/internal/redistest"
	"github.com/stateful-route/stateful-route/internal/testtls"
)

const lease = 300 * time.Millisecond

// attach is one replica's arbiter, registered and ready.
func attach(t *testing.T, addr, replica string) shared.Arbiter {
	t.Helper()
	s, err := valkeystore.New(valkeystore.Options{Addresses: []string{addr}, Prefix: "test:", Lease: lease, Replica: replica})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	a, err := s.Attach(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	j, err := a.Join(t.Context(), 0, "", true, shared.Info{Address: replica})
	if err != nil || j.Behind {
		t.Fatalf("join: %+v, %v", j, err)
	}
	open, err := a.Ready(t.Context(), true, 0)
	if err != nil || !open {
		t.Fatalf("ready: %v, %v", open, err)
	}
	return a
}

func TestClaimsAreArbitrated(t *testing.T) {
	server := redistest.Start(t)
	a, b := attach(t, server.Addr(), "a"), attach(t, server.Addr(), "b")
	ctx := t.Context()
	before := time.Now().UnixMilli()
	first, err := a.Claim(ctx, "chat", "alice", "chat-0", 0, time.Minute)
	if err != nil || first.Code != shared.Claimed || first.Binding.Pod != "chat-0" {
		t.Fatalf("claim: %+v, %v", first, err)
	}
	if e := int64(first.Binding.Epoch); e < before || e > time.Now().UnixMilli() {
		t.Errorf("epoch %d is not now", e)
	}
	second, err := b.Claim(ctx, "chat", "alice", "chat-1", 0, time.Minute)
	if err != nil || second.Code != shared.Bound || second.Binding.Pod != "chat-0" || second.Binding.Epoch != first.Binding.Epoch {
		t.Errorf("second claim: %+v, %v", second, err)
	}
	if other, err := b.Claim(ctx, "mail", "alice", "mail-1", 0, time.Minute); err != nil || other.Code != shared.Claimed {
		t.Errorf("the same key of another service: %+v, %v", other, err)
	}
	if none, err := b.Claim(ctx, "chat", "bob", "", 0, time.Minute); err != nil || none.Code != shared.None {
		t.Errorf("a question: %+v, %v", none, err)
	}
}

func TestAChangeWaitsForAllReplicas(t *testing.T) {
	server := redistest.Start(t)
	a, b := attach(t, server.Addr(), "a"), attach(t, server.Addr(), "b")
	ctx := t.Context()
	claimed, err := a.Claim(ctx, "chat", "alice", "chat-0", 0, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	begun, err := a.Change(ctx, "chat", []string{"alice"}, 0, "chat-1", time.Minute)
	if err != nil || begun[0].Code != shared.Begun {
		t.Fatalf("change: %+v, %v", begun, err)
	}
	if r, err := b.Claim(ctx, "chat", "alice", "chat-2", 0, time.Minute); err != nil || r.Code != shared.Changing {
		t.Errorf("a claim in between: %+v, %v", r, err)
	}
	for _, replica := range []shared.Arbiter{a, b} {
		if r, err := a.Finish(ctx, "chat", []string{"alice"}, begun[0].Entry); err != nil || r[0].Code != shared.Changing {
			t.Errorf("finished before all have acted: %+v, %v", r, err)
		}
		entries, err := replica.Log(ctx, 0, time.Second)
		if err != nil || len(entries) != 1 || entries[0].Kind != shared.Revoke || entries[0].Keys[0] != "alice" {
			t.Fatalf("log: %+v, %v", entries, err)
		}
		if err := replica.Acted(ctx, entries[0].Position); err != nil {
			t.Fatal(err)
		}
	}
	done, err := a.Finish(ctx, "chat", []string{"alice"}, begun[0].Entry)
	if err != nil || done[0].Binding.Pod != "chat-1" || done[0].Binding.PreviousPod != "chat-0" || done[0].Binding.Epoch <= claimed.Binding.Epoch {
		t.Errorf("finish: %+v, %v", done, err)
	}
}

func TestARestartedServerIsAnotherIncarnation(t *testing.T) {
	server := redistest.Start(t)
	a := attach(t, server.Addr(), "a")
	ctx := t.Context()
	if _, err := a.Claim(ctx, "chat", "alice", "chat-0", 0, time.Minute); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	server.Restart()
	awaitError(ctx, t, shared.ErrLost, func() error {
		_, err := a.Claim(ctx, "chat", "alice", "chat-1", 0, time.Minute)
		return err
	})
}

func TestAnEmptiedServerIsAnotherIncarnation(t *testing.T) {
	server := redistest.Start(t)
	a := attach(t, server.Addr(), "a")
	if said, err := server.Do("FLUSHALL"); err != nil || said != "+OK" {
		t.Fatal(said, err)
	}
	awaitError(t.Context(), t, shared.ErrLost, func() error {
		_, err := a.Claim(t.Context(), "chat", "alice", "chat-1", 0, time.Minute)
		return err
	})
}

// awaitError waits out errors of connections.
func awaitError(ctx context.Context, t *testing.T, want error, do func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if err = do(); err == nil || errors.Is(err, want) || ctx.Err() != nil {
			break
		}
	}
	if !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
}

// A cluster, sentinels and TLS are other ways to the same server.
func TestOtherWaysToAServer(t *testing.T) {
	t.Run("cluster", func(t *testing.T) {
		server := redistest.Start(t, "--cluster-enabled", "yes")
		if said, err := server.Do("CLUSTER ADDSLOTSRANGE 0 16383"); err != nil || said != "+OK" {
			t.Fatal(said, err)
		}
		for deadline := time.Now().Add(20 * time.Second); !clusterIsUp(server); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the cluster is not up")
			}
		}
		claimOnce(t, valkeystore.Options{Addresses: []string{server.Addr()}})
	})
	t.Run("sentinel", func(t *testing.T) {
		server := redistest.Start(t)
		sentinel := redistest.StartSentinel(t, "main", server)
		claimOnce(t, valkeystore.Options{Addresses: []string{sentinel.Addr()}, Sentinel: "main"})
	})
	t.Run("password", func(t *testing.T) {
		server := redistest.Start(t, "--requirepass", "open sesame")
		claimOnce(t, valkeystore.Options{
			Addresses: []string{server.Addr()}, Password: func() (string, error) { return "open sesame", nil },
		})
	})
	t.Run("tls", func(t *testing.T) {
		ca := testtls.NewAuthority(t)
		cert, key := ca.Write(t.TempDir(), "server", testtls.Leaf{IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
		server := redistest.StartTLS(t, cert, key)
		claimOnce(t, valkeystore.Options{
			Addresses: []string{server.Addr()}, TLS: &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12},
		})
	})
}

func clusterIsUp(s *redistest.Server) bool {
	said, err := s.Do("SET {x} y")
	return err == nil && said == "+OK"
}

func claimOnce(t *testing.T, o valkeystore.Options) {
	t.Helper()
	o.Lease, o.Replica, o.Prefix = lease, "a", "test:"
	s, err := valkeystore.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	a, err := s.Attach(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Join(t.Context(), 0, "", true, shared.Info{}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Ready(t.Context(), true, 0); err != nil {
		t.Fatal(err)
	}
	// The name of the service is that of a refusal.
	if r, err := a.Claim(t.Context(), "lost", "alice", "chat-0", 0, time.Minute); err != nil || r.Code != shared.Claimed {
		t.Errorf("claim: %+v, %v", r, err)
	}
	if pods, err := a.Pods(t.Context()); err != nil || len(pods) != 1 || pods[0].Service != "lost" {
		t.Errorf("pods: %+v, %v", pods, err)
	}
	if counts, err := a.Count(t.Context()); err != nil || len(counts) != 1 || counts[0].Sessions != 1 {
		t.Errorf("count: %+v, %v", counts, err)
	}
	if entries, err := a.Log(t.Context(), 0, time.Millisecond); err != nil || len(entries) != 0 {
		t.Errorf("log: %+v, %v", entries, err)
	}
}

// All replicas were killed, and are back when it seems that the server's clock was set. What is
// bound goes on at once; what is not has to wait until it is known that nobody holds anything.
func TestBindingsAreReadAlthoughTheClockSeemsToHaveBeenSet(t *testing.T) {
	server := redistest.Start(t)
	ctx := t.Context()
	killed := attach(t, server.Addr(), "killed")
	bound, err := killed.Claim(ctx, "chat", "alice", "chat-0", 0, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.Do("HSET {test:}store tick 1"); err != nil {
		t.Fatal(err)
	}
	s, err := valkeystore.New(valkeystore.Options{Addresses: []string{server.Addr()}, Prefix: "test:", Lease: lease, Replica: "back"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	leave := ""
	for _, refused := range []error{shared.ErrLost, shared.ErrRecovering} {
		a, err := s.Attach(ctx, leave)
		if err != nil {
			t.Fatal(err)
		}
		leave = a.Incarnation()
		if j, err := a.Join(ctx, 0, "", true, shared.Info{}); err != nil || j.Behind {
			t.Fatalf("join: %+v, %v", j, err)
		}
		if r, err := a.Claim(ctx, "chat", "alice", "chat-1", 0, time.Minute); err != nil || r.Code != shared.Bound || r.Binding.Epoch != bound.Binding.Epoch {
			t.Errorf("a claim of what is bound: %+v, %v", r, err)
		}
		if r, err := a.Claim(ctx, "chat", "bob", "chat-1", 0, time.Minute); !errors.Is(err, refused) {
			t.Errorf("a claim of what is not: %+v, %v, want %v", r, err, refused)
		}
		if r, err := a.Change(ctx, "chat", []string{"alice"}, 0, "chat-1", time.Minute); !errors.Is(err, refused) {
			t.Errorf("a move: %+v, %v, want %v", r, err, refused)
		}
	}
	// A server that may have lost something says nothing until all that replicas hold is put back.
	if _, err := server.Do("HSET {test:}store run another"); err != nil {
		t.Fatal(err)
	}
	a, err := s.Attach(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Join(ctx, 0, "", true, shared.Info{}); err != nil {
		t.Fatal(err)
	}
	if r, err := a.Claim(ctx, "chat", "alice", "chat-1", 0, time.Minute); !errors.Is(err, shared.ErrRecovering) {
		t.Errorf("a claim at a server that was restored: %+v, %v", r, err)
	}
}

// A session that was deleted while a replica was about to put it back stays deleted: the
// replica has to act on the log first.
func TestNothingIsPutBackThatHasEndedMeanwhile(t *testing.T) {
	server := redistest.Start(t)
	a, b := attach(t, server.Addr(), "a"), attach(t, server.Addr(), "b")
	ctx := t.Context()
	claimed, err := a.Claim(ctx, "chat", "alice", "chat-0", 0, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	begun, err := a.Change(ctx, "chat", []string{"alice"}, 0, "", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for _, replica := range []shared.Arbiter{a, b} {
		if err := replica.Acted(ctx, begun[0].Entry); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := a.Finish(ctx, "chat", []string{"alice"}, begun[0].Entry); err != nil || r[0].Code != shared.None {
		t.Fatalf("finish: %+v, %v", r, err)
	}
	late := []shared.Use{{Binding: claimed.Binding, TTL: time.Minute, PutBack: true}}
	if r, err := b.Refresh(ctx, begun[0].Entry-1, late); err != nil || r[0].Code != shared.Behind {
		t.Errorf("put back as it was before: %+v, %v", r, err)
	}
	if r, err := b.Peek(ctx, "chat", "alice"); err != nil || r.Code != shared.None {
		t.Errorf("it is there again: %+v, %v", r, err)
	}
	if r, err := b.Refresh(ctx, begun[0].Entry, late); err != nil || r[0].Code != shared.Bound || r[0].Binding.Epoch <= claimed.Binding.Epoch {
		t.Errorf("put back by one who knows that: %+v, %v", r, err)
	}
}

// A session of a lost pod is not rebound to one that has as many as it may.
func TestAFullPodTakesNoSessionOfALostOne(t *testing.T) {
	server := redistest.Start(t)
	a := attach(t, server.Addr(), "a")
	ctx := t.Context()
	bound, err := a.Claim(ctx, "chat", "alice", "lost", 0, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Claim(ctx, "chat", "bob", "chat-1", 1, time.Minute); err != nil {
		t.Fatal(err)
	}
	fenced, err := a.Fence(ctx, "chat", "lost")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Acted(ctx, fenced.Entry); err != nil {
		t.Fatal(err)
	}
	if r, err := a.Rebind(ctx, bound.Binding, "chat-1", 1, time.Minute); err != nil || r.Code != shared.Choice {
		t.Errorf("to the full pod: %+v, %v", r, err)
	}
	if r, err := a.Rebind(ctx, bound.Binding, "chat-1", 2, time.Minute); err != nil || r.Code != shared.Rebound {
		t.Errorf("to one with room: %+v, %v", r, err)
	}
}
