// Package process starts the programs of the suite, pods and gateways, so that
// they can be killed, stopped for a while and waited for, and do not outlive it.
package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Spec is what to start.
type Spec struct {
	Path string   // found on PATH if it has no slash
	Args []string // without the program's name
	Env  []string // joins the environment
	Dir  string   // the working directory; empty: this one
	Log  string   // the file that gets all output, at its end; empty: none
}

// Process is a started program in a process group of its own.
type Process struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

// Start starts the program. Its end is the caller's to bring about, by Kill or Stop.
func Start(spec Spec) (*Process, error) {
	cmd := exec.Command(spec.Path, spec.Args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = spec.Dir, append(os.Environ(), spec.Env...), attributes()
	p := &Process{cmd: cmd, log: spec.Log, ended: make(chan struct{})}
	if spec.Log != "" {
		f, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return nil, fmt.Errorf("log of %s: %w", spec.Path, err)
		}
		defer f.Close() // the child has its own descriptor
		cmd.Stdout, cmd.Stderr = f, f
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Path, err)
	}
	go func() {
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(p.ended)
	}()
	return p, nil
}

// Pid is the process's id, which leads its group.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Err says that the process has ended, how, and where its log is; nil while it runs.
func (p *Process) Err() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s has ended (%v); log: %s", filepath.Base(p.cmd.Path), p.cmd.ProcessState, p.log)
	default:
		return nil
	}
}

// Signal sends sig to the whole group. A group that is gone is not an error.
func (p *Process) Signal(sig syscall.Signal) { _ = syscall.Kill(-p.Pid(), sig) }

// Pause stops the whole group as it stands (SIGSTOP); Resume lets it go on.
func (p *Process) Pause() { p.Signal(syscall.SIGSTOP) }

// Resume lets a paused group go on.
func (p *Process) Resume() { p.Signal(syscall.SIGCONT) }

// Kill ends the whole group by SIGKILL and waits for the process's end.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.ended
}

// Stop asks for an end by SIGTERM and brings it about by Kill when patience or ctx is over.
func (p *Process) Stop(ctx context.Context, patience time.Duration) {
	p.Signal(syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-p.ended:
	case <-ctx.Done():
	}
	p.Kill() // whatever is left of the group, too
}
