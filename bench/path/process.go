package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/stateful-route/stateful-route/internal/procgroup"
	"github.com/stateful-route/stateful-route/internal/procstat"
)

// role is what a process does for a request; CPU time is told by it.
type role int

const (
	proxy   role = iota // Envoy, HAProxy, nginx
	callout             // an external processor
	control             // xds-server
	pods
	load // this process: the load generator
	roles
)

func (r role) String() string {
	return [roles]string{"proxy", "callout", "control", "pods", "load"}[r]
}

// process is a program that was started.
type process struct {
	name string
	role role
	log  string
	cmd  *exec.Cmd
	done chan struct{}
}

// start starts a program with its output in a file of the bench's folder.
func (b *bench) start(name string, r role, path string, args ...string) (*process, error) {
	p := &process{name: name, role: r, log: filepath.Join(b.dir, name+".log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	p.cmd = exec.Command(path, args...) //nolint:gosec // programs that were looked up
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = procgroup.Attr()
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

// stop ends it, by force when it takes long.
func (p *process) stop() { procgroup.Stop(p.cmd.Process.Pid, p.done, 5*time.Second) }

// tail is the end of what it has printed, for an error.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-1000):])
}

// usage is what the processes have used so far, by role.
type usage [roles]procstat.Usage

func usageOf(all []*process) (usage, error) {
	var u usage
	add := func(r role, pid int) error {
		one, err := procstat.Of(pid)
		u[r].CPU += one.CPU
		u[r].Private += one.Private
		return err
	}
	err := add(load, os.Getpid())
	for _, p := range all {
		if e := add(p.role, p.cmd.Process.Pid); e != nil {
			err = errors.Join(err, fmt.Errorf("%s has ended: %w\n%s", p.name, e, p.tail()))
		}
	}
	return u, err
}

// freeAddress is one of this machine at which nothing listens.
func freeAddress() (string, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func freeAddresses(n int) ([]string, error) {
	var all []string
	for range n {
		a, err := freeAddress()
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}
