package harness

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/internal/procgroup"
)

// stopWithin is how long a program may take to stop after SIGTERM.
const stopWithin = 15 * time.Second

// logTail is how much of each log a failed test shows.
const logTail = 6000

// Process is one program of a stack. It can be ended and started again, under
// the same name and into the same log. Its methods are for the test's own
// goroutine.
type Process struct {
	Name string

	path string
	args []string
	env  []string // beside the test's own
	log  string
	cmd  *exec.Cmd // nil: not running
	done chan struct{}
}

// NewProcess starts a program that is stopped at the end of the test, which
// fails if it does not stop.
func NewProcess(t testing.TB, name, path string, args ...string) *Process {
	t.Helper()
	return newProcess(t, nil, name, path, args...)
}

func newProcess(t testing.TB, env []string, name, path string, args ...string) *Process {
	t.Helper()
	p := &Process{Name: name, path: path, args: args, env: env, log: filepath.Join(t.TempDir(), name+".log")}
	p.Start(t)
	t.Cleanup(func() {
		if p.Running() {
			p.Stop(t)
		}
		for _, sign := range []string{"WARNING: DATA RACE", "\npanic: ", "\nfatal error: "} {
			if strings.Contains(p.Log(t), sign) {
				t.Errorf("%s's log has %q", p.Name, strings.TrimSpace(sign))
			}
		}
		if t.Failed() {
			t.Logf("--- the end of %s's log\n%s", p.Name, p.tail())
		}
	})
	return p
}

// Start starts the program, again after Stop or Kill.
func (p *Process) Start(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	p.startInto(t, log)
}

// StartUnread starts the program at log level debug with a small pipe for its
// output, which nobody reads. The reader is closed at the end of the test.
func (p *Process) StartUnread(t testing.TB) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	defer func() { _ = w.Close() }()
	if err := shrinkPipe(w); err != nil {
		t.Fatal(err)
	}
	p.startInto(t, w, "--log-level", "debug")
}

func (p *Process) startInto(t testing.TB, log *os.File, more ...string) {
	t.Helper()
	cmd := exec.Command(p.path, append(slices.Clone(p.args), more...)...)
	cmd.Stdout, cmd.Stderr = log, log
	// The race detector would have each program wait a second before it ends.
	cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=0"), p.env...)
	cmd.SysProcAttr = procgroup.Attr()
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.Name, err)
	}
	p.cmd, p.done = cmd, make(chan struct{})
	go func(done chan struct{}) {
		// How it ended is read from cmd.ProcessState.
		_ = cmd.Wait()
		close(done)
	}(p.done)
}

// Running reports whether the program was started and has not ended.
func (p *Process) Running() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Pid is the process id of the program last started.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Signal sends sig without waiting for what it does.
func (p *Process) Signal(sig syscall.Signal) { procgroup.Signal(p.Pid(), sig) }

// Stop sends SIGTERM and waits for the end; it fails the test when the program
// takes too long, and kills it then.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	if !procgroup.Stop(p.Pid(), p.done, stopWithin) {
		t.Errorf("%s did not stop within %v of SIGTERM", p.Name, stopWithin)
	}
}

// Kill sends SIGKILL and waits for the end.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	p.Signal(syscall.SIGKILL)
	<-p.done
}

// ExitCode is that of the program, which must have ended: -1 for a signal.
func (p *Process) ExitCode() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Log returns all that the program has printed.
func (p *Process) Log(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(p.log)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (p *Process) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	if len(b) > logTail {
		b = b[len(b)-logTail:]
		_, b, _ = bytes.Cut(b, []byte("\n"))
	}
	return strings.TrimRight(string(b), "\n")
}
