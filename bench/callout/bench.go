package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/stateful-route/stateful-route/internal/procstat"
)

// bench is a run: what has been started, and what is measured.
type bench struct {
	plan
	dir       string
	processes []*process
	subjects  []*subject
}

// subject is a server that is asked.
type subject struct {
	name    string
	socket  string
	process *process
	noop    bool // resets a stream once it has its answer, as Envoy does where it expects no more
	samples []sample
}

// sample is one measurement.
type sample struct {
	rate    float64
	cpu     time.Duration // of a request
	p50     time.Duration // until the answer
	p99     time.Duration
	private uint64
}

const repository = "github.com/stateful-route/stateful-route/"

// start builds and starts the no-op server, an xds-server, and the extprocs.
func (b *bench) start(ctx context.Context) error {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", b.dir+"/", repository+"cmd/xds-server", repository+"cmd/extproc", repository+"bench/path")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	if len(b.servers) == 0 {
		b.servers = []string{"extproc=" + filepath.Join(b.dir, "extproc")}
	}
	noop := &subject{name: "no-op", socket: filepath.Join(b.dir, "noop.sock"), noop: true}
	var err error
	if noop.process, err = b.spawn("noop", nil, filepath.Join(b.dir, "path"), "noop", noop.socket, pod); err != nil {
		return err
	}
	b.subjects = []*subject{noop}
	xds, err := b.startXDS()
	if err != nil {
		return err
	}
	for _, text := range b.servers {
		if err := b.startExtproc(text, xds); err != nil {
			return err
		}
	}
	for _, s := range b.subjects {
		if err := s.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// pod is where sessions belong; nobody connects to it.
const pod = "127.0.0.1:9101"

// startXDS tells extprocs of a service with a header key, and returns its address.
func (b *bench) startXDS() (string, error) {
	addresses := make([]string, 2)
	for i := range addresses {
		a, err := freeAddress()
		if err != nil {
			return "", err
		}
		addresses[i] = a
	}
	file := filepath.Join(b.dir, "xds.yaml")
	text := fmt.Sprintf(`listen: %s
admin: %s
envoy: {extproc: {address: "unix:%s/none"}}
services:
- name: chat
  match: {hosts: ["*"], prefix: /}
  session: {idle_timeout: 24h, key: [{header: x-session-id}]}
  pods: {static: [{name: p0, address: %q}]}
`, addresses[0], addresses[1], b.dir, pod)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", err
	}
	_, err := b.spawn("xds-server", nil, filepath.Join(b.dir, "xds-server"), "--config", file, "--log-level", "warn")
	return addresses[0], err
}

func (b *bench) startExtproc(text, xds string) error {
	name, env, path, err := parseServer(text)
	if err != nil {
		return err
	}
	admin, err := freeAddress()
	if err != nil {
		return err
	}
	s := &subject{name: name, socket: filepath.Join(b.dir, name+".sock")}
	file := filepath.Join(b.dir, name+".yaml")
	config := fmt.Sprintf("listen: \"unix:%s\"\nadmin: %s\nxds: %s\nstore: {memory: {path: %s/%s.db}}\n", s.socket, admin, xds, b.dir, name)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	if s.process, err = b.spawn(name, env, path, "--config", file, "--log-level", "warn"); err != nil {
		return err
	}
	b.subjects = append(b.subjects, s)
	return nil
}

// ready waits until a callout is answered.
func (s *subject) ready(ctx context.Context) error {
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, err := s.load(ctx, load{streams: 1, sessions: 1})
		if err == nil {
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil {
			log, e := os.ReadFile(s.process.log)
			return errors.Join(fmt.Errorf("%s does not answer: %w\n%s", s.name, err, log), e)
		}
	}
}

// measure goes through the servers in rounds, each of which another one begins.
func (b *bench) measure(ctx context.Context) error {
	for round := range b.rounds {
		for i := range b.subjects {
			s := b.subjects[(i+round)%len(b.subjects)]
			one, err := b.sample(ctx, s)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			s.samples = append(s.samples, one)
		}
	}
	noop := b.subjects[0]
	fmt.Printf("%d rounds of %s, %d streams, %d sessions; load average %s\n\n", b.rounds, b.time, b.streams, b.sessions, loadAverage())
	fmt.Println("| server | CPU µs per request | × no-op | callouts/s | p50 µs | p99 µs | private MB |\n|---|---|---|---|---|---|---|")
	for _, s := range b.subjects {
		cpu := median(s.samples, func(s sample) float64 { return us(s.cpu) })
		least := slices.MinFunc(s.samples, func(a, b sample) int { return int(a.cpu - b.cpu) })
		most := slices.MaxFunc(s.samples, func(a, b sample) int { return int(a.cpu - b.cpu) })
		fmt.Printf("| %s | %.1f (%.1f–%.1f) | %.2f | %.0f | %.0f | %.0f | %.0f |\n", s.name, cpu, us(least.cpu), us(most.cpu),
			cpu/median(noop.samples, func(s sample) float64 { return us(s.cpu) }), median(s.samples, func(s sample) float64 { return s.rate }),
			median(s.samples, func(s sample) float64 { return us(s.p50) }), median(s.samples, func(s sample) float64 { return us(s.p99) }),
			median(s.samples, func(s sample) float64 { return float64(s.private) / 1e6 }))
	}
	return nil
}

// sample measures one server, after a tenth of the time to get warm.
func (b *bench) sample(ctx context.Context, s *subject) (sample, error) {
	l := load{streams: b.streams, sessions: b.sessions, time: b.time / 10}
	if _, err := s.load(ctx, l); err != nil {
		return sample{}, err
	}
	before, err := procstat.Of(s.process.cmd.Process.Pid)
	if err != nil {
		return sample{}, err
	}
	l.time, l.took = b.time, make([]time.Duration, 0, 1<<17)
	began := time.Now()
	took, err := s.load(ctx, l)
	if err != nil {
		return sample{}, err
	}
	elapsed := time.Since(began)
	after, err := procstat.Of(s.process.cmd.Process.Pid)
	slices.Sort(took)
	n := len(took)
	return sample{
		rate: float64(n) / elapsed.Seconds(), cpu: (after.CPU - before.CPU) / time.Duration(n),
		p50: took[n/2], p99: took[n*99/100], private: after.Private,
	}, err
}

func median(samples []sample, of func(sample) float64) float64 {
	v := make([]float64, len(samples))
	for i, s := range samples {
		v[i] = of(s)
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "not known"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

func freeAddress() (string, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
