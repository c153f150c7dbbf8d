// Command path measures what a request costs on its way through a proxy that keeps sessions:
// plain Envoy, what else there is, and ours with and without the module. It is what
// `make bench-path` runs; bench/path/install.sh installs the peers.
//
//	go run ./bench/path                                            # everything, an hour
//	go run ./bench/path -rows 'ours-header|haproxy' -rounds 1 -time 1s -concurrency 16
//	go run ./bench/path -rows 'pods$|ours-header-1000$' -pods 3,1000 -sessions 1000   # what pods cost
//
// All set-ups run at the same time, each row is measured once a round, and the order rotates, so
// that what else happens on the machine meets all of them. A ratio is to plain Envoy in the
// same round. The load generator and the pods are as light as could be: the machine is to be
// busy with the proxies.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "path:", err)
		os.Exit(1)
	}
}

// run is the benchmark or, as a process of its own, one of the parts that it starts.
func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "pods":
			return runPods(ctx, args[1:])
		case "noop":
			return runNoop(ctx, args[1], args[2:])
		}
	}
	p, err := parsePlan(args)
	if err != nil {
		return err
	}
	return p.run(ctx)
}

// plan is what is measured.
type plan struct {
	rows        *regexp.Regexp
	rounds      int
	time        time.Duration
	concurrency []int
	protocols   []int // 1 and 2
	sessions    []int
	pods        []int
	changes     int
	module      string // "none": without
	out         string
}

func parsePlan(args []string) (*plan, error) {
	p := &plan{}
	f := flag.NewFlagSet("path", flag.ContinueOnError)
	rows := f.String("rows", "", "a regular expression of the rows; empty: all. Plain Envoy is always among them")
	f.IntVar(&p.rounds, "rounds", 5, "rounds; medians and ranges are shown")
	f.DurationVar(&p.time, "time", 2*time.Second, "time of each measurement")
	concurrency := f.String("concurrency", "1,16,64", "requests under way at a time")
	protocols := f.String("http", "1,2", "versions of HTTP between the load and the proxy")
	sessions := f.String("sessions", "1000,1000000", "known sessions, a set-up of ours each")
	pods := f.String("pods", "3", "pods; of further numbers, as in 3,1000, there is a row of plain Envoy and one of ours each")
	f.IntVar(&p.changes, "changes", 5000, "claims and moves a second in the rows that have them")
	f.StringVar(&p.module, "module", "", "the module for Envoy, or none; empty: bin/libstateful_route.so if there is one")
	f.StringVar(&p.out, "out", "out/bench-path", "folder for rounds.csv, table.md and plot.svg")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	var err error
	if p.rows, err = regexp.Compile(*rows); err != nil {
		return nil, fmt.Errorf("-rows: %w", err)
	}
	lists := []struct {
		text string
		to   *[]int
	}{{*concurrency, &p.concurrency}, {*protocols, &p.protocols}, {*sessions, &p.sessions}, {*pods, &p.pods}}
	for _, l := range lists {
		if *l.to, err = numbers(l.text); err != nil {
			return nil, err
		}
	}
	for _, v := range p.protocols {
		if v > 2 {
			return nil, fmt.Errorf("-http %d: there are 1 and 2", v)
		}
	}
	if most := slices.Max(p.pods); most > maxPods {
		return nil, fmt.Errorf("-pods %d: at most %d", most, maxPods)
	}
	if p.rounds < 1 || p.time < 10*time.Millisecond {
		return nil, fmt.Errorf("%d rounds of %s are none", p.rounds, p.time)
	}
	return p, nil
}

// numbers reads a list with commas.
func numbers(list string) ([]int, error) {
	var out []int
	for _, s := range strings.Split(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is no list of numbers above 0", list)
		}
		out = append(out, n)
	}
	return out, nil
}
