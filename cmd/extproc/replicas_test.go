package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/e2e/harness"
	"github.com/stateful-route/stateful-route/extproc/admin"
	"github.com/stateful-route/stateful-route/internal/redistest"
)

// replicasOf is what an app says of all.
func replicasOf(t *testing.T, a *App) (out admin.Replicas) {
	t.Helper()
	code, text := get(t, a, "/api/v1/replicas")
	if err := json.Unmarshal([]byte(text), &out); code != 200 || err != nil {
		t.Fatalf("%d %q: %v", code, text, err)
	}
	return out
}

func TestAReplicaThatSharesWithNobodyKnowsItself(t *testing.T) {
	a, _, stop := startApp(t)
	defer stop()
	if _, _, err := a.table.Claim("chat", "alice", "chat-0", time.Now()); err != nil {
		t.Fatal(err)
	}
	r := replicasOf(t, a)
	if r.Store.Kind != admin.StoreMemory || r.Store.State != admin.StoreOpen || r.Store.Incarnation != "" || len(r.Replicas) != 1 {
		t.Fatalf("%+v", r)
	}
	if one := r.Replicas[0]; !one.Self || one.ID != a.replica || one.Bindings != 1 || one.LeaseLeft != nil || one.Store != admin.StoreOpen {
		t.Errorf("%+v", one)
	}
}

// sharingAt has an app share its bindings.
func sharingAt(address string) func(*Options) {
	return func(o *Options) {
		o.Config.Store = config.Store{Valkey: &config.ValkeyStore{Addresses: []string{address}, Prefix: "test:", Lease: time.Second}}
	}
}

func TestAnyReplicaKnowsAll(t *testing.T) {
	server := redistest.Start(t)
	a, _, stopA := startApp(t, sharingAt(server.Addr()))
	defer stopA()
	b, _, stopB := startApp(t, sharingAt(server.Addr()))
	defer stopB()
	for _, app := range []*App{a, b} {
		harness.Eventually(t, harness.Patience, app.replica+" knows both", func() error {
			r := replicasOf(t, app)
			if r.Store.Kind != admin.StoreValkey || r.Store.State != admin.StoreOpen || r.Store.Incarnation == "" ||
				!slices.Equal(r.Store.Addresses, []string{server.Addr()}) || r.Store.Age == nil || r.Store.Lease != 1 {
				return fmt.Errorf("store %+v", r.Store)
			}
			if len(r.Replicas) != 2 {
				return fmt.Errorf("%d replicas", len(r.Replicas))
			}
			for _, one := range r.Replicas {
				if one.Self != (one.ID == app.replica) || one.Store != admin.StoreOpen || !one.Registered ||
					one.LeaseLeft == nil || *one.LeaseLeft <= 0 || one.Age == nil || one.Admin != "127.0.0.1:0" {
					return fmt.Errorf("%+v", one)
				}
			}
			return nil
		})
	}
	server.Kill()
	harness.Eventually(t, harness.Patience, "the store is seen to be away", func() error {
		r := replicasOf(t, a)
		for _, one := range r.Replicas {
			switch {
			case one.Self && (one.Store != admin.StoreUnreachable || *one.LeaseLeft > 0):
				return fmt.Errorf("this one: %+v", one)
			case !one.Self && (one.Store != admin.StoreUnknown || one.LeaseLeft != nil):
				return fmt.Errorf("the other: %+v", one)
			}
		}
		if r.Store.State != admin.StoreUnreachable || r.Store.Error == "" {
			return errors.New("it is " + r.Store.State)
		}
		return nil
	})
}
