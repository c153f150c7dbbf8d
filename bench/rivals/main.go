// Command rivals plays the stickiness suite against every gateway that this machine can run,
// Stateful Route among them, and puts what came of it side by side. It is what `make rivals`
// runs; bench/rivals/install.sh installs the peers.
//
//	go run ./bench/rivals                                     # everything, half an hour on two cores
//	go run ./bench/rivals -adapters haproxy-table -seed 3,4    # some of it; the rest stays as it was
//	go run ./bench/rivals -play=false -docs docs               # only the tables, from what was played
//
// Each gateway's results are in a folder of its own below -out, and the tables and the picture
// are made of all folders that are there.
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
	"syscall"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/adapters"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "rivals:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	play      bool
	bin       string
	adapters  []string
	schedules string
	seeds     string
	duration  time.Duration
	sessions  int
	rate      float64
	parallel  int
	patience  time.Duration
	out, docs string
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("rivals", flag.ContinueOnError)
	f.BoolVar(&o.play, "play", true, "play; false: only make the tables of what was played")
	f.StringVar(&o.bin, "bin", "bin", "folder with stickiness and Stateful Route's programs")
	names := f.String("adapters", "", "gateways, comma separated; empty: all")
	f.StringVar(&o.schedules, "schedules", "", "schedules, comma separated; empty: all")
	f.StringVar(&o.seeds, "seed", "1,2", "seeds; each schedule is played with each, and has to have the same verdict")
	f.DurationVar(&o.duration, "duration", 5*time.Second, "of one schedule")
	f.IntVar(&o.sessions, "sessions", 60, "how many")
	f.Float64Var(&o.rate, "rate", 90, "requests a second, all sessions together")
	f.IntVar(&o.parallel, "parallel", 4, "runs at a time")
	f.DurationVar(&o.patience, "patience", 10*time.Second, "of a client, for one answer")
	f.StringVar(&o.out, "out", "out/rivals", "folder for results, tables, pictures and logs")
	f.StringVar(&o.docs, "docs", "", "folder whose comparison.md and comparison.svg get the tables and the picture, too")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	var known []string
	for _, a := range adapters.All() {
		known = append(known, a.Name)
	}
	o.adapters = known
	if *names != "" {
		o.adapters = strings.Split(*names, ",")
	}
	for _, name := range o.adapters {
		if !slices.Contains(known, name) {
			return o, fmt.Errorf("-adapters: there is no %q", name)
		}
	}
	return o, nil
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if o.play {
		if err := o.playAll(ctx); err != nil {
			return err
		}
	}
	return o.report(os.Stdout)
}
