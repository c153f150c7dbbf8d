// Command fleet measures what a large fleet costs the control plane, and what
// clients that hang cost the others. It is what `make bench-fleet` runs; the
// figures are in design/control-plane.md.
//
//	go run ./bench/fleet                 # everything
//	go run ./bench/fleet -only hang -samples 100
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"
)

// part is one table.
type part struct {
	name string
	run  func(ctx context.Context, samples int) error
}

func parts() []part {
	return []part{{"change", change}, {"weights", weights}, {"start", slowStart}, {"hang", hang}}
}

func main() {
	only := flag.String("only", "", "parts to run, with commas: change, weights, start, hang; empty: all")
	samples := flag.Int("samples", 30, "changes measured in each row")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *only, *samples)
	stop()
	if err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string, samples int) error {
	if samples < 1 {
		return fmt.Errorf("-samples %d is below 1", samples)
	}
	wanted := strings.Split(only, ",")
	for _, p := range parts() {
		if only != "" && !slices.Contains(wanted, p.name) {
			continue
		}
		if err := p.run(ctx, samples); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// quantile is the q-th of sorted values.
func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func spread(took []time.Duration) (median, p99, most time.Duration) {
	slices.Sort(took)
	return quantile(took, .5), quantile(took, .99), took[len(took)-1]
}
