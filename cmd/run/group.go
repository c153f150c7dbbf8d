package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stateful-route/stateful-route/internal/procgroup"
)

// patience is how long a program may take to stop before it is killed.
const patience = 8 * time.Second

// group is a set of running programs that live and end together.
type group struct {
	out *outputs
	// lost is told when a program ends although nobody stopped it.
	lost     context.CancelCauseFunc
	patience time.Duration
	children []*child
	ending   chan struct{} // closed when stop begins
}

// child is one running program, in a process group of its own: Ctrl-C reaches
// only this program, which then stops the others in order.
type child struct {
	spec
	cmd    *exec.Cmd
	output *lineWriter
	ended  chan struct{}
}

func newGroup(out io.Writer, lost context.CancelCauseFunc) *group {
	return &group{out: &outputs{w: out}, lost: lost, patience: patience, ending: make(chan struct{})}
}

func (g *group) start(s spec) error {
	w := &lineWriter{out: g.out, prefix: s.name}
	c := &child{spec: s, cmd: exec.Command(s.path, s.args...), output: w, ended: make(chan struct{})}
	c.cmd.Stdout, c.cmd.Stderr = w, w
	c.cmd.SysProcAttr = procgroup.Attr()
	c.cmd.WaitDelay = time.Second
	if err := c.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.name, err)
	}
	g.children = append(g.children, c)
	g.out.line("run", fmt.Sprintf("started %s, pid %d", s.name, c.cmd.Process.Pid))
	go g.watch(c)
	return nil
}

func (g *group) watch(c *child) {
	err := c.cmd.Wait()
	select {
	case <-g.ending:
	default:
		g.lost(c.lost(err))
	}
	close(c.ended)
}

// lost says how a program ended that nobody had stopped.
func (c *child) lost(err error) error {
	if err == nil {
		err = errors.New("exit status 0")
	}
	return fmt.Errorf("%s ended by itself (%w); its last lines:\n  %s", c.name, err, strings.Join(c.output.last(), "\n  "))
}

// stop ends the programs in the reverse of the order they were started in, and
// returns when none is left.
func (g *group) stop() {
	close(g.ending)
	for _, c := range slices.Backward(g.children) {
		procgroup.Stop(c.cmd.Process.Pid, c.ended, g.patience)
	}
}

// outputs joins the lines of all programs on one writer.
type outputs struct {
	mu sync.Mutex
	w  io.Writer
}

func (o *outputs) line(prefix, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	// Nobody is left to be told that the terminal is gone.
	_, _ = fmt.Fprintf(o.w, "%-10s | %s\n", prefix, text)
}
