package main

import (
	"context"
	"fmt"
)

// envoyAnswers awaits that Envoy reads the table in the volume that the first extproc shares
// with it, and answers for sessions by it.
func (at target) envoyAnswers(ctx context.Context) error {
	const known = 20
	var stats struct {
		Cache struct {
			FastPath struct {
				Envoys, Bindings int
				Requests         map[string]uint64
			} `json:"fast_path"`
		}
	}
	f := &stats.Cache.FastPath
	err := eventually(ctx, func() error {
		for i := range known {
			if _, err := at.served(ctx, fmt.Sprintf("known-%d", i)); err != nil {
				return err
			}
		}
		if err := at.get(ctx, at.extprocs[0]+"/api/v1/stats", &stats); err != nil {
			return err
		}
		if f.Envoys != 1 || f.Bindings == 0 || f.Requests["hit"] < known {
			return fmt.Errorf("the table is used so: %+v", *f)
		}
		return nil
	})
	if err != nil {
		return err
	}
	report("Envoy answers for sessions itself: of the %d in extproc-0's table it did so %d times", f.Bindings, f.Requests["hit"])
	return nil
}
