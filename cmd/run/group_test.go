package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test program stands in for the programs that a group runs.
func TestMain(m *testing.M) {
	switch os.Getenv("RUN_TEST_CHILD") {
	case "":
		goleak.VerifyTestMain(m)
	case "obedient":
		ch := make(chan os.Signal, 1)
		signal.Notify(ch, syscall.SIGTERM)
		fmt.Println("up")
		<-ch
		fmt.Println("down")
	case "stubborn":
		ch := make(chan os.Signal, 1)
		signal.Notify(ch, syscall.SIGTERM)
		fmt.Println("up")
		for range ch {
			fmt.Println("no")
		}
	case "dying":
		for i := range 20 {
			fmt.Printf("line %d\n", i)
		}
		fmt.Print("and no end of line")
		os.Exit(7)
	}
}

// output is a writer that a test can wait on.
type output struct {
	mu   sync.Mutex
	cond sync.Cond
	text strings.Builder
}

func newOutput() *output {
	o := &output{}
	o.cond.L = &o.mu
	return o
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(b)
	o.cond.Broadcast()
	return len(b), nil
}

func (o *output) waitFor(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !strings.Contains(o.text.String(), text) {
		o.cond.Wait()
	}
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// childSpec runs the test program in a role.
func childSpec(name, role string) spec {
	return spec{name, "/usr/bin/env", []string{"RUN_TEST_CHILD=" + role, os.Args[0]}}
}

func alive(pid int) bool { return !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func TestGroupStopsInReverse(t *testing.T) {
	out := newOutput()
	g := newGroup(out, func(err error) { t.Errorf("told of a loss: %v", err) })
	for _, name := range []string{"first", "second"} {
		if err := g.start(childSpec(name, "obedient")); err != nil {
			t.Fatal(err)
		}
		out.waitFor(fmt.Sprintf("%-10s | up\n", name))
	}
	g.stop()
	text := out.String()
	second, first := strings.Index(text, "second     | down"), strings.Index(text, "first      | down")
	if second < 0 || first < second {
		t.Errorf("want second to go down, then first:\n%s", text)
	}
	for _, c := range g.children {
		if alive(c.cmd.Process.Pid) {
			t.Errorf("%s is left", c.name)
		}
	}
}

func TestGroupKillsWhatDoesNotStop(t *testing.T) {
	out := newOutput()
	g := newGroup(out, func(err error) { t.Errorf("told of a loss: %v", err) })
	g.patience = 100 * time.Millisecond
	if err := g.start(childSpec("mule", "stubborn")); err != nil {
		t.Fatal(err)
	}
	out.waitFor("up\n")
	g.stop()
	if alive(g.children[0].cmd.Process.Pid) {
		t.Error("it is left")
	}
}

func TestSuperviseReportsTheProgramThatDied(t *testing.T) {
	out := newOutput()
	specs := []spec{childSpec("good", "obedient"), childSpec("bad", "dying")}
	err := supervise(t.Context(), specs, out, func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	})
	if err == nil {
		t.Fatal("no error")
	}
	got := err.Error()
	for _, want := range []string{"bad ended by itself", "exit status 7", "\n  line 19", "and no end of line"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if strings.Contains(got, "line 3\n") {
		t.Errorf("more than the last lines in %q", got)
	}
}

func TestSuperviseEndsWellWhenInterrupted(t *testing.T) {
	out := newOutput()
	ctx, cancel := context.WithCancelCause(t.Context())
	err := supervise(ctx, []spec{childSpec("good", "obedient")}, out, func(context.Context) error {
		out.waitFor("up\n")
		cancel(errors.New("signal"))
		return nil
	})
	if err != nil || !strings.Contains(out.String(), "down") {
		t.Errorf("%v; output:\n%s", err, out)
	}
}

func TestSuperviseStopsAllWhenOneCannotStart(t *testing.T) {
	out := newOutput()
	err := supervise(t.Context(), []spec{childSpec("good", "obedient"), {name: "bad", path: "/nowhere/bad"}}, out, nil)
	if err == nil || !strings.Contains(err.Error(), "start bad") {
		t.Errorf("error %v", err)
	}
}

func TestLineWriterJoinsParts(t *testing.T) {
	out := newOutput()
	w := &lineWriter{out: &outputs{w: out}, prefix: "x"}
	for _, part := range []string{"on", "e\ntwo\n\nth", "ree"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	if got, want := out.String(), "x          | one\nx          | two\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := strings.Join(w.last(), ","); got != "one,two,three" {
		t.Errorf("last lines %q", got)
	}
	if _, err := w.Write([]byte(strings.Repeat("a", maxLine+1))); err != nil || len(w.partial) != 0 {
		t.Errorf("%d bytes of an endless line are held, %v", len(w.partial), err)
	}
}
