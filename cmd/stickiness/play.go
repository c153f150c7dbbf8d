package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/stateful-route/stateful-route/stickiness/play"
	"github.com/stateful-route/stateful-route/stickiness/report"
)

// playRuns plays everything and writes what came of it.
func playRuns(ctx context.Context, o options, out io.Writer) (int, error) {
	rows := plan(ctx, o)
	var mu sync.Mutex // of out
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(o.parallel)
	for i := range rows {
		r := &rows[i]
		if r.Absent != "" {
			continue
		}
		group.Go(func() error {
			if r.Outcome.Err = ctx.Err(); r.Outcome.Err != nil {
				return r.Outcome.Err // of a run that another one, or the user, has kept from beginning
			}
			err := playRow(ctx, o, r)
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintf(out, "%s\n", report.Line(*r))
			return err
		})
	}
	if err := errors.Join(group.Wait(), write(o, rows)); err != nil {
		return notPlayed, err
	}
	fmt.Fprintf(out, "\n%s\n", report.Table(rows))
	switch {
	case report.Failed(rows):
		return notPlayed, nil
	case !report.Kept(rows):
		return notKept, nil
	}
	return kept, nil
}

// plan is every run: all schedules and seeds of one gateway after the other.
func plan(ctx context.Context, o options) []report.Row {
	var rows []report.Row
	for _, a := range o.adapters {
		absent := ""
		if err := a.Available(ctx); err != nil {
			absent = err.Error()
		}
		for _, s := range o.schedules {
			for _, seed := range o.seeds {
				rows = append(rows, report.Row{Adapter: a, Schedule: s, Seed: seed, Absent: absent})
			}
		}
	}
	return rows
}

func playRow(ctx context.Context, o options, r *report.Row) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return fmt.Errorf("play: %w", err)
	}
	// Sockets lie in it, and their paths may not be long.
	dir, err := os.MkdirTemp("", "stickiness")
	if err != nil {
		return fmt.Errorf("play: %w", err)
	}
	defer os.RemoveAll(dir)
	r.Outcome = play.Play(ctx, play.Run{Adapter: r.Adapter, Schedule: r.Schedule, Seed: r.Seed, Load: o.load, Dir: dir, Waits: o.waits})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	bad := r.Outcome.Err != nil || r.Outcome.NotFor == "" && !r.Outcome.Result.Kept()
	name := fmt.Sprintf("%s-%s-%d", r.Adapter.Name, r.Schedule.Name, r.Seed)
	if bad || o.keep && r.Outcome.NotFor == "" {
		logs := filepath.Join(o.out, "logs", name)
		if err := copyLogs(logs, dir); err != nil {
			return fmt.Errorf("logs: %w", err)
		}
	}
	if bad && r.Outcome.Err == nil {
		if err := os.WriteFile(filepath.Join(o.out, name+".svg"), []byte(report.Plot(*r)), 0o644); err != nil {
			return fmt.Errorf("play: %w", err)
		}
	}
	r.Outcome.History.Records = nil // a run's are many, and all has been said of them
	r.Outcome.Result.Verdicts = nil
	return nil
}
