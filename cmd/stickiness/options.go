package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
	"github.com/stateful-route/stateful-route/stickiness/play"
	"github.com/stateful-route/stateful-route/stickiness/schedule"
)

// options are what the command line says.
type options struct {
	list      bool
	adapters  []gateway.Adapter
	schedules []schedule.Schedule
	seeds     []uint64
	load      schedule.Load
	parallel  int
	waits     play.Waits
	out       string
	keep      bool
}

func parse(args []string, errs io.Writer, known []gateway.Adapter) (options, error) {
	var o options
	f := flag.NewFlagSet("stickiness", flag.ContinueOnError)
	f.SetOutput(errs)
	f.BoolVar(&o.list, "list", false, "list the gateways, whether they can run here, and the schedules")
	names := f.String("adapters", "", "gateways, comma separated; default: all but the reference")
	schedules := f.String("schedules", "", "schedules, comma separated; default: all")
	seeds := f.String("seed", "1", "seeds, comma separated; every schedule is played once with each")
	f.DurationVar(&o.load.Duration, "duration", 6*time.Second, "of one schedule")
	f.IntVar(&o.load.Sessions, "sessions", 200, "how many")
	f.Float64Var(&o.load.Rate, "rate", 300, "requests per second, all sessions together")
	f.DurationVar(&o.waits.HealthCheck, "health-timeout", time.Second, "of the gateways' health checks")
	f.DurationVar(&o.waits.Answer, "patience", 3*time.Second, "of a client, for one answer")
	f.IntVar(&o.parallel, "parallel", 2, "runs at once")
	f.StringVar(&o.out, "out", "out/stickiness", "the folder that gets table.md, results.json, pictures and logs")
	f.BoolVar(&o.keep, "keep-logs", false, "keep the logs of all runs, and not only of those in which something was wrong")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("what is %q?", f.Arg(0))
	}
	const leastDuration, least = time.Second, 1
	if o.load.Duration < leastDuration || o.load.Sessions < least || o.load.Rate <= 0 || o.waits.HealthCheck <= 0 || o.waits.Answer <= 0 || o.parallel < least {
		return o, fmt.Errorf("--duration: at least %s; --sessions, --rate, --health-timeout, --patience and --parallel: more than nothing", leastDuration)
	}
	var err error
	if o.seeds, err = numbers(*seeds); err != nil {
		return o, fmt.Errorf("--seed: %w", err)
	}
	if o.adapters, err = named("--adapters", *names, known, func(a gateway.Adapter) string { return a.Name }); err != nil {
		return o, err
	}
	if *names == "" {
		o.adapters = slices.DeleteFunc(o.adapters, func(a gateway.Adapter) bool { return a.Name == "reference" })
	}
	o.schedules, err = named("--schedules", *schedules, schedule.All(), func(s schedule.Schedule) string { return s.Name })
	return o, err
}

func numbers(text string) ([]uint64, error) {
	var out []uint64
	for field := range strings.SplitSeq(text, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(field), 10, 64)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// named are those of all whose names text lists, in its order; all without one.
func named[T any](flagName, text string, all []T, name func(T) string) ([]T, error) {
	if text == "" {
		return slices.Clone(all), nil
	}
	var out []T
	for field := range strings.SplitSeq(text, ",") {
		i := slices.IndexFunc(all, func(v T) bool { return name(v) == strings.TrimSpace(field) })
		if i < 0 {
			return nil, fmt.Errorf("%s: there is no %q; --list says what there is", flagName, field)
		}
		out = append(out, all[i])
	}
	return out, nil
}

func list(ctx context.Context, out io.Writer, known []gateway.Adapter) {
	fmt.Fprintln(out, "gateways:")
	for _, a := range known {
		here := "can run here"
		if err := a.Available(ctx); err != nil {
			here = "absent: " + err.Error()
		}
		fmt.Fprintf(out, "  %-28s %s (%s)\n", a.Name, a.Description, here)
	}
	fmt.Fprintln(out, "schedules:")
	for _, s := range schedule.All() {
		fmt.Fprintf(out, "  %-28s %s\n", s.Name, s.Description)
	}
}
