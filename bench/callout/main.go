// Command callout measures what a callout costs an external processor: it opens streams and
// answers as Envoy does, without an Envoy, so that the processor is all that is busy, and tells
// its CPU time for each request. The no-op server of bench/path runs beside, in the same rounds.
//
//	go run ./bench/callout
//	go run ./bench/callout -server before=/tmp/before/extproc -server after=bin/extproc -server 'gc=GOGC=400 bin/extproc'
//
// A server is NAME=[VARIABLE=VALUE …] PATH of an extproc; without one it is built from this
// checkout.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stateful-route/stateful-route/internal/procgroup"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "callout:", err)
		os.Exit(1)
	}
}

// plan is what is measured.
type plan struct {
	servers  []string
	rounds   int
	time     time.Duration
	streams  int
	sessions int
}

func run(ctx context.Context, args []string) error {
	p := plan{}
	f := flag.NewFlagSet("callout", flag.ContinueOnError)
	f.Func("server", "NAME=[VARIABLE=VALUE …] PATH of an extproc; repeatable", func(s string) error {
		p.servers = append(p.servers, s)
		return nil
	})
	f.IntVar(&p.rounds, "rounds", 5, "rounds; medians and ranges are shown")
	f.DurationVar(&p.time, "time", 2*time.Second, "time of each measurement")
	f.IntVar(&p.streams, "streams", 16, "streams under way at a time, on one connection")
	f.IntVar(&p.sessions, "sessions", 1000, "known sessions")
	if err := f.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-callout-")
	if err != nil {
		return err
	}
	b := &bench{plan: p, dir: dir}
	defer b.close()
	if err := b.start(ctx); err != nil {
		return err
	}
	return b.measure(ctx)
}

// process is a program that was started.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// spawn starts a program with its output in a file.
func (b *bench) spawn(name string, env []string, path string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(path, args...), log: filepath.Join(b.dir, name+".log"), done: make(chan struct{})} //nolint:gosec // programs that were named
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr = log, log, procgroup.Attr()
	p.cmd.Env = append(os.Environ(), env...)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // how it ended is in its log
	}()
	b.processes = append(b.processes, p)
	return p, nil
}

func (b *bench) close() {
	for _, p := range b.processes {
		procgroup.Stop(p.cmd.Process.Pid, p.done, 5*time.Second)
	}
	_ = os.RemoveAll(b.dir)
}

// parseServer takes NAME=[VARIABLE=VALUE …] PATH apart.
func parseServer(text string) (name string, env []string, path string, err error) {
	name, rest, _ := strings.Cut(text, "=")
	fields := strings.Fields(rest)
	if name == "" || len(fields) == 0 {
		return "", nil, "", fmt.Errorf("-server %q: want NAME=[VARIABLE=VALUE …] PATH", text)
	}
	return name, fields[:len(fields)-1], fields[len(fields)-1], nil
}
