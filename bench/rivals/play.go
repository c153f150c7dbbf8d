package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stateful-route/stateful-route/internal/envoybin"
	"github.com/stateful-route/stateful-route/stickiness/adapters/fleet"
)

// about is how a gateway was played.
type about struct {
	Command  string            `json:"command"`
	Date     string            `json:"date"`
	Cores    int               `json:"cores"`
	Load     [2]float64        `json:"load"` // the machine's average of a minute, before and after
	Versions map[string]string `json:"versions"`
}

const (
	aboutFile   = "about.json"
	resultsFile = "results.json"
)

// playAll plays one gateway after the other. A verdict is no failure; a run that could not be
// played is one, in the end.
func (o options) playAll(ctx context.Context) error {
	env, err := environment(ctx, o.bin)
	if err != nil {
		return err
	}
	found := versions(ctx, env)
	var failed []string
	for _, name := range o.adapters {
		err := o.playOne(ctx, name, env, found)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "rivals: %s: %v\n", name, err)
			failed = append(failed, name)
		}
	}
	if failed != nil {
		return fmt.Errorf("not all runs of %s could be played", strings.Join(failed, ", "))
	}
	return nil
}

// environment says where the programs are that are not installed in the system.
func environment(ctx context.Context, bin string) (map[string]string, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	envoy, err := envoybin.Find(ctx, envoybin.FindOptions{Log: os.Stderr})
	if err != nil {
		return nil, err
	}
	env := map[string]string{"STATEFUL_ROUTE_BIN": bin, "ENVOY": envoy.Path}
	if caddy, err := filepath.Abs(".tools/caddy/caddy"); err == nil && os.Getenv("CADDY") == "" {
		if _, err := os.Stat(caddy); err == nil {
			env["CADDY"] = caddy
		}
	}
	return env, nil
}

// versions are those of what is there.
func versions(ctx context.Context, env map[string]string) map[string]string {
	all := map[string]string{}
	for _, p := range []struct{ name, variable, argument string }{
		{"haproxy", "HAPROXY", "-v"}, {"nginx", "NGINX", "-v"}, {"envoy", "ENVOY", "--version"}, {"caddy", "CADDY", "version"}, {"redis-server", "", "--version"},
	} {
		program := fleet.Program{Name: p.name, Env: p.variable}
		if path := env[p.variable]; path != "" {
			program = fleet.Program{Name: path}
		}
		if v, err := program.Version(ctx, p.argument); err == nil {
			all[p.name] = v
		}
	}
	return all
}

// attempts is how often a run is tried that could not be played: ports are chosen while they
// are free, and may have gone when they are used.
const attempts = 3

func (o options) playOne(ctx context.Context, name string, env, found map[string]string) error {
	out := filepath.Join(o.out, name)
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	args := []string{
		"--adapters", name, "--duration", o.duration.String(), "--sessions", strconv.Itoa(o.sessions),
		"--rate", strconv.FormatFloat(o.rate, 'f', -1, 64), "--parallel", strconv.Itoa(o.parallel), "--patience", o.patience.String(),
	}
	before := load()
	rows, err := o.suite(ctx, env, out, append(slices.Clone(args), "--seed", o.seeds, "--schedules", o.schedules))
	if err != nil {
		return err
	}
	for i := range rows {
		for again := 1; again < attempts && rows[i].Error != ""; again++ {
			one, err := o.suite(ctx, env, filepath.Join(out, "again"), append(slices.Clone(args), "--seed", strconv.FormatUint(rows[i].Seed, 10), "--schedules", rows[i].Schedule))
			if err != nil {
				return err
			}
			rows[i] = one[0]
		}
		if rows[i].Error != "" {
			err = errors.New(rows[i].Error)
		}
	}
	return errors.Join(err, writeJSON(filepath.Join(out, resultsFile), rows), writeJSON(filepath.Join(out, aboutFile), about{
		Command: strings.Join(append([]string{"bin/stickiness"}, append(args, "--seed", o.seeds)...), " "), Date: time.Now().UTC().Format(time.DateOnly),
		Cores: runtime.NumCPU(), Load: [2]float64{before, load()}, Versions: found,
	}))
}

// The codes with which the suite ends when all was played, and with which when not.
const (
	notKept   = 1
	notPlayed = 3
)

// suite plays and reads what came of it.
func (o options) suite(ctx context.Context, env map[string]string, out string, args []string) (rows []row, err error) {
	program := filepath.Join(o.bin, "stickiness")
	cmd := exec.CommandContext(ctx, program, append(args, "--out", out)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it has children to end
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = os.Environ()
	for _, key := range slices.Sorted(maps.Keys(env)) {
		cmd.Env = append(cmd.Env, key+"="+env[key])
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != notKept && exit.ExitCode() != notPlayed) {
		return nil, fmt.Errorf("stickiness: %w", err)
	}
	err = readJSON(filepath.Join(out, resultsFile), &rows)
	return rows, err
}

// load is the machine's load average of the last minute, 0 where the system does not tell.
func load() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return v
}
