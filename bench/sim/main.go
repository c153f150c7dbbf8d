// Command sim runs the balancing simulations of design/balancing-simulation.md and
// writes their table, a CSV and a plot.
//
//	go run ./bench/sim -out out
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	simulate "github.com/stateful-route/stateful-route/bench/sim/balancing"
)

func main() {
	out := flag.String("out", "out", "folder for the table, the CSV and the plot")
	seeds := flag.Int("seeds", 3, "traces for each setting")
	measure := flag.Duration("measure", 0, "simulated time measured in each run; 0 means the default")
	flag.Parse()
	if err := run(*out, *seeds, *measure, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(1)
	}
}

// run simulates the suite and writes everything below folder; the table goes to
// stdout too.
func run(folder string, seeds int, measure time.Duration, stdout io.Writer) error {
	if seeds < 1 {
		return fmt.Errorf("-seeds %d is below 1", seeds)
	}
	suite := simulate.Suite()
	comparisons := make([]simulate.Comparison, len(suite))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, s := range suite {
		s.Measure = measure
		group.Go(func() (err error) {
			comparisons[i], err = simulate.Compare(s, simulate.Policies(), seeds)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("output folder: %w", err)
	}
	for name, write := range map[string]func(io.Writer, []simulate.Comparison) error{
		"balancing.md": simulate.WriteTable, "balancing.csv": simulate.WriteCSV, "balancing.svg": simulate.WritePlot,
	} {
		if err := writeFile(filepath.Join(folder, name), comparisons, write); err != nil {
			return err
		}
	}
	return simulate.WriteTable(stdout, comparisons)
}

func writeFile(path string, comparisons []simulate.Comparison, write func(io.Writer, []simulate.Comparison) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := write(f, comparisons); err != nil {
		f.Close()
		return fmt.Errorf("%s: %w", path, err)
	}
	return f.Close()
}
