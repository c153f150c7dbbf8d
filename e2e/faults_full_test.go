package e2e

import (
	"context"
	"fmt"
	"math"
	"syscall"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/shared"
	"github.com/stateful-route/stateful-route/affinity/shared/valkeystore"
)

// restartAll restarts all replicas at once while the store has a million sessions: they are
// read as requests come.
func (r *faultRun) restartAll() {
	n := r.either(1_000_000, 1000)
	began := time.Now()
	if err := r.fill(r.t.Context(), n); err != nil {
		r.t.Fatal(err)
	}
	r.figure(true, "%d sessions put into the store in %v", n, time.Since(began).Round(time.Second))
	r.round()
	at := time.Now()
	for _, replica := range r.Replicas {
		replica.Signal(syscall.SIGTERM)
	}
	for _, replica := range r.Replicas {
		replica.Stop(r.t)
	}
	r.back(at, time.Now())
	const asked = 300
	keys := make([]string, asked)
	for i := range keys {
		keys[i] = stored(i * n / asked)
	}
	elsewhere := 0
	for key, s := range r.load.burst("chat", keys, burstAtOnce) {
		var i int
		if _, err := fmt.Sscanf(key, "stored-%d", &i); err != nil || s.pod != podOfStored(i) {
			elsewhere++
		}
	}
	r.must(elsewhere == 0, "%d of %d sessions of the store were not served by their pods", elsewhere, asked)
	r.figure(true, "%d of them asked for, all on their pods", asked)
}

func stored(i int) string { return fmt.Sprintf("stored-%d", i) }

func podOfStored(i int) string { return fmt.Sprintf("chat-%d", i%3) }

// fill puts sessions into the store as a replica does that puts back what it holds.
func (r *faultRun) fill(ctx context.Context, n int) error {
	store, err := valkeystore.New(valkeystore.Options{
		Addresses: []string{r.store.Addr()}, Prefix: "stateful-route:", Lease: r.scale.lease, Replica: "loader",
	})
	if err != nil {
		return err
	}
	defer store.Close()
	a, err := store.Attach(ctx, "")
	if err != nil {
		return err
	}
	if _, err := a.Join(ctx, 0, "", true, shared.Info{}); err != nil {
		return err
	}
	now, renewed := time.Now(), time.Now()
	uses := make([]shared.Use, 0, 200)
	for i := range n {
		b := statefulroute.Binding{Service: "chat", Key: stored(i), Pod: podOfStored(i), Epoch: 1, Created: now, LastSeen: now, Requests: 1}
		if uses = append(uses, shared.Use{Binding: b, TTL: 10 * time.Minute, PutBack: true}); len(uses) < cap(uses) && i < n-1 {
			continue
		}
		if _, err := a.Refresh(ctx, math.MaxInt64, uses); err != nil { // nobody else ends them
			return err
		}
		uses = uses[:0]
		if time.Since(renewed) > r.scale.lease/3 {
			position, err := a.Renew(ctx, shared.Info{})
			if err != nil {
				return err
			}
			if err := a.Acted(ctx, position.Position); err != nil { // it answers nobody
				return err
			}
			renewed = time.Now()
		}
	}
	return a.Leave(ctx, "loader", 0)
}
