package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/stateful-route/stateful-route/internal/envoybin"
)

// bench is a run: the folder of its files, the programs and what has been started.
type bench struct {
	*plan
	dir, shm     string
	self, bin    string
	envoy        string
	podAddresses []string // of as many pods as any row has
	pods         *process
	processes    []*process // all
	fronts       map[string]*front
	notes        []string // below the table
}

func (p *plan) run(ctx context.Context) error {
	b := &bench{plan: p, fronts: map[string]*front{}}
	defer b.close()
	if err := b.open(ctx); err != nil {
		return err
	}
	debug.SetGCPercent(800) // of the load generator: what it keeps is small
	var samples []sample
	rows := p.wanted()
	for round := range p.rounds {
		for _, c := range p.concurrency {
			for _, protocol := range p.protocols {
				some, err := b.round(ctx, rows, round, protocol, c)
				if err != nil {
					return err
				}
				samples = append(samples, some...)
			}
		}
	}
	b.noteModule(ctx)
	return b.report(rows, samples)
}

const repository = "github.com/stateful-route/stateful-route/"

// open builds our programs and starts the pods.
func (b *bench) open(ctx context.Context) (err error) {
	if b.dir, err = os.MkdirTemp("", "bench-path-"); err != nil {
		return err
	}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	found, err := envoybin.Find(ctx, envoybin.FindOptions{Log: os.Stderr})
	if err != nil {
		return err
	}
	b.envoy, b.bin = found.Path, filepath.Join(b.dir, "bin")
	if out, err := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", b.bin+"/", repository+"cmd/xds-server", repository+"cmd/extproc").CombinedOutput(); err != nil { //nolint:gosec // our own programs
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	if err := b.findModule(); err != nil {
		return err
	}
	if b.podAddresses, err = podAddresses(slices.Max(b.plan.pods)); err != nil {
		return err
	}
	b.pods, err = b.start("pods", pods, b.self, append([]string{"pods"}, b.podAddresses...)...)
	return err
}

// findModule decides whether ours runs with the module.
func (b *bench) findModule() error {
	given := b.module
	if given == "none" {
		b.module = ""
		return nil
	}
	if given == "" {
		b.module = "bin/libstateful_route.so"
	}
	path, err := filepath.Abs(b.module)
	if err != nil {
		return err
	}
	if _, err := os.Stat(path); err != nil {
		if given != "" {
			return fmt.Errorf("-module: %w", err)
		}
		fmt.Fprintf(os.Stderr, "path: there is no %s (make build): all of ours goes by extproc\n", b.module)
		path = ""
	}
	b.module = path
	return nil
}

func (b *bench) close() {
	for _, p := range b.processes {
		p.stop()
	}
	for _, dir := range []string{b.dir, b.shm} {
		if dir != "" {
			_ = os.RemoveAll(dir)
		}
	}
}

// round measures all rows once; in each round another one comes first.
func (b *bench) round(ctx context.Context, rows []row, round, protocol, concurrency int) ([]sample, error) {
	var out []sample
	rates, peers := map[string]float64{}, map[string]string{}
	for i := range rows {
		r := &rows[(i+round)%len(rows)]
		s, err := b.measure(ctx, r, protocol, concurrency)
		if errors.Is(err, errAbsent) {
			b.skip(r, err)
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s, HTTP/%d, %d at a time: %w", r.name, protocol, concurrency, err)
		}
		s.round = round
		rates[r.name], peers[r.name] = s.rate, r.peer
		out = append(out, s)
		fmt.Fprintf(os.Stderr, "round %d HTTP/%d c=%-3d %-34s %7.0f req/s  p99 %-9s wrong %d failed %d\n", round+1, protocol, concurrency, r.name, s.rate, s.p99, s.wrong, s.failed)
	}
	for i := range out {
		out[i].ratio = out[i].rate / rates[peers[out[i].row]]
	}
	return out, nil
}

// skip says once that a row is left out.
func (b *bench) skip(r *row, err error) {
	text := fmt.Sprintf("%s: skipped, %v", r.title, err)
	if slices.Contains(b.notes, text) {
		return
	}
	b.notes = append(b.notes, text)
	fmt.Fprintln(os.Stderr, "path:", text)
}

// job is the load of a row, whose set-up is made ready for it.
func (b *bench) job(ctx context.Context, r *row) (*front, job, error) {
	f, err := b.front(ctx, r)
	if err != nil {
		return nil, job{}, err
	}
	if r.prepare != nil && r.requests == nil {
		if r.requests, err = r.prepare(ctx, f); err != nil {
			return nil, job{}, err
		}
	}
	j := job{requests: r.requests, next: known(1)}
	switch {
	case r.sessions > 0:
		if err := f.bind(ctx, r.sessions, r.requests); err != nil {
			return nil, job{}, err
		}
		j.next, j.owners = known(r.sessions), f.owners
	case r.fresh:
		j.next = fresh(&f.fresh)
	}
	return f, j, nil
}

// measure is one row, after a tenth of the time to get warm.
func (b *bench) measure(ctx context.Context, r *row, protocol, concurrency int) (sample, error) {
	f, j, err := b.job(ctx, r)
	if err != nil {
		return sample{}, err
	}
	j.address, j.protocol, j.concurrency = f.addresses[protocol], protocol, concurrency
	var beside *changes
	if r.changes {
		if beside, err = f.change(b.changes, r.pods); err != nil {
			return sample{}, err
		}
		defer beside.end()
	}
	j.time = max(b.time/10, 10*time.Millisecond)
	warm, err := j.run(ctx)
	if err != nil {
		return sample{}, err
	}
	before, err := usageOf(f.processes)
	if err != nil {
		return sample{}, err
	}
	j.time = b.time
	changed := beside.count()
	out, err := j.run(ctx)
	if err != nil {
		return sample{}, err
	}
	after, err := usageOf(f.processes)
	out.wrong += warm.wrong
	out.failed += warm.failed + beside.failures()
	return newSample(r.name, protocol, concurrency, out, before, after, float64(beside.count()-changed)), err
}
