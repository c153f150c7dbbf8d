package main

import (
	"context"
	"fmt"
)

// replicasShare awaits that both extprocs know each other, with a lease of one store.
func (at target) replicasShare(ctx context.Context) error {
	var incarnation string
	err := eventually(ctx, func() error {
		incarnation = ""
		for _, admin := range at.extprocs {
			said, err := at.sharedBy(ctx, admin)
			if err != nil {
				return err
			}
			if incarnation != "" && said != incarnation {
				return fmt.Errorf("they know the store as %s and %s", incarnation, said)
			}
			incarnation = said
		}
		return nil
	})
	if err == nil {
		report("both extprocs have a lease of the store, and know it as %s", incarnation)
	}
	return err
}

// sharedBy is what an extproc calls the store that it shares with another one.
func (at target) sharedBy(ctx context.Context, admin string) (incarnation string, err error) {
	var said struct {
		Store    struct{ State, Incarnation string }
		Replicas []struct {
			ID, Store string
			LeaseLeft *float64 `json:"lease_left_seconds"`
		}
	}
	if err := at.get(ctx, admin+"/api/v1/replicas", &said); err != nil {
		return "", err
	}
	if said.Store.State != "open" || said.Store.Incarnation == "" || len(said.Replicas) != 2 {
		return "", fmt.Errorf("the store is %s at %s, and there are %d replicas", said.Store.State, admin, len(said.Replicas))
	}
	for _, r := range said.Replicas {
		if r.Store != "open" || r.LeaseLeft == nil || *r.LeaseLeft <= 0 {
			return "", fmt.Errorf("%s has no lease, as %s sees it", r.ID, admin)
		}
	}
	return said.Store.Incarnation, nil
}
