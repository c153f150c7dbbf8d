package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// lockedBuffer can be read while it is written to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// started is routectl while it runs.
type started struct {
	lines  *bufio.Scanner
	stderr lockedBuffer
	code   chan int
	stop   context.CancelFunc
}

func (s *stack) start(args ...string) *started {
	ctx, stop := context.WithCancel(context.Background())
	r, w := io.Pipe()
	out := &started{lines: bufio.NewScanner(r), code: make(chan int, 1), stop: stop}
	go func() {
		code := run(ctx, s.args(args...), Options{Stdout: w, Stderr: &out.stderr, HTTP: s.http})
		_ = w.Close()
		out.code <- code
	}()
	return out
}

// expect reads lines until one is the wanted.
func (s *started) expect(t *testing.T, want string) {
	t.Helper()
	for s.lines.Scan() {
		if s.lines.Text() == want {
			return
		}
		t.Logf("before %q: %q", want, s.lines.Text())
	}
	t.Fatalf("it ended without %q", want)
}

// end waits for the exit code.
func (s *started) end(t *testing.T, want int) {
	t.Helper()
	for s.lines.Scan() {
		t.Errorf("unexpected line %q", s.lines.Text())
	}
	if code := <-s.code; code != want {
		t.Errorf("exit code %d, want %d; %s", code, want, &s.stderr)
	}
	s.stop()
}

func TestDrainWaitsForTheLastSession(t *testing.T) {
	s := startStack(t, "{interval: 1h}")
	s.bind(t, 0, "chat", "chat-1", "a", "b")
	s.bind(t, 1, "chat", "chat-1", "c")
	s.bind(t, 1, "chat", "chat-0", "elsewhere")
	drain := s.start("pods", "drain", "chat", "chat-1", "--wait", "--timeout", "1m")
	drain.expect(t, "chat-1 of chat is draining")
	drain.expect(t, "3 sessions left")
	s.ok(t, "sessions", "delete", "chat", "b")
	drain.expect(t, "2 sessions left")
	s.ok(t, "sessions", "delete", "chat", "a")
	s.ok(t, "sessions", "delete", "chat", "c")
	drain.expect(t, "0 sessions left")
	drain.end(t, 0)
	if out := s.ok(t, "pods", "chat"); !strings.Contains(out, "draining") {
		t.Errorf("pods:\n%s", out)
	}
}

// A session that comes while the order travels is not overlooked.
func TestDrainDoesNotBelieveTheFirstZero(t *testing.T) {
	s := startStack(t, "{interval: 1h}")
	drain := s.start("pods", "drain", "chat", "chat-1", "--wait")
	drain.expect(t, "0 sessions left")
	s.bind(t, 0, "chat", "chat-1", "late")
	drain.expect(t, "1 session left")
	s.ok(t, "sessions", "delete", "chat", "late")
	drain.expect(t, "0 sessions left")
	drain.end(t, 0)
}

func TestDrainGivesUp(t *testing.T) {
	s := startStack(t, "{interval: 1h}")
	s.bind(t, 0, "chat", "chat-1", "a", "b")
	stays := "chat-1 of chat stays draining and takes no new session; to undo that: routectl pods ready chat chat-1 --xds-admin http://" + s.xdsAdmin + "\n"
	code, stdout, stderr := s.run("pods", "drain", "chat", "chat-1", "--wait", "--timeout", "300ms")
	if code != 1 || !strings.HasSuffix(stdout, "\n2 sessions left\n") || stderr != "routectl: 2 sessions left after 300ms: "+stays {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
	code, stdout, _ = s.run("pods", "drain", "chat", "chat-1", "--wait", "--timeout", "300ms", "-o", "json")
	var out drained
	parse(t, stdout, &out)
	if code != 1 || out.SessionsLeft != 2 || out.State != "draining" || out.Service != "chat" || out.Waited < .3 {
		t.Errorf("%d %+v", code, out)
	}
	drain := s.start("pods", "drain", "chat", "chat-1", "--wait")
	drain.expect(t, "2 sessions left")
	drain.stop()
	drain.end(t, 1)
	if got := drain.stderr.String(); got != "routectl: interrupted: "+stays {
		t.Errorf("interrupted: %q", got)
	}
}

func TestDrainWaitsForAnExtprocThatRestarts(t *testing.T) {
	s := startStack(t, "{interval: 1h}")
	s.bind(t, 0, "chat", "chat-1", "a")
	drain := s.start("pods", "drain", "chat", "chat-1", "--wait", "--timeout", "1m")
	drain.expect(t, "1 session left")
	s.extproc.Stop(t)
	harness.Eventually(t, harness.Patience, "it says that it cannot count", func() error {
		if got := drain.stderr.String(); !strings.HasPrefix(got, "routectl: not counted: extproc at ") {
			return fmt.Errorf("stderr is %q", got)
		}
		return nil
	})
	s.extproc.Start(t) // its bindings ended with it
	drain.expect(t, "0 sessions left")
	drain.end(t, 0)
}

func TestDrainNeedsEveryExtprocToBegin(t *testing.T) {
	s := startStack(t, "{interval: 1h}")
	s.extprocAdmins = append(s.extprocAdmins, harness.Address(t))
	code, _, stderr := s.run("pods", "drain", "chat", "chat-1", "--wait", "--timeout", "1m")
	if code != 1 || !strings.Contains(stderr, "cannot be counted: extproc at http://"+s.extprocAdmins[2]+" cannot be reached") {
		t.Errorf("%d %q", code, stderr)
	}
}

func TestOrders(t *testing.T) {
	s := startStack(t, "{interval: 1h}")
	for _, v := range []struct{ order, state string }{{"drain", "draining"}, {"maintenance", "maintenance"}, {"ready", "ready"}} {
		if out, want := s.ok(t, "pods", v.order, "chat", "chat-1"), "chat-1 of chat is "+v.state+"\n"; out != want {
			t.Errorf("%s: %q", v.order, out)
		}
		var pod podRow
		parse(t, s.ok(t, "pods", v.order, "chat", "chat-1", "-o", "json"), &pod)
		if pod.State != v.state || pod.Service != "chat" || pod.Name != "chat-1" || pod.Address != "127.0.0.1:9102" {
			t.Errorf("%s: %+v", v.order, pod)
		}
		var pods []podRow
		start := time.Now()
		parse(t, s.ok(t, "pods", "chat", "-o", "json"), &pods)
		if pods[1].State != v.state {
			t.Errorf("%v after %s: %+v", time.Since(start), v.order, pods[1])
		}
	}
	code, stdout, stderr := s.run("pods", "drain", "chat", "../x", "--wait")
	if code != 1 || stdout != "" || stderr != "routectl: pod \"../x\" of service \"chat\": unknown pod\n" {
		t.Errorf("an unknown pod: %d %q %q", code, stdout, stderr)
	}
	// Were it not escaped, the path would lead elsewhere.
	if code, _, stderr := s.run("pods", "drain", "chat", ".."); code != 1 || !strings.Contains(stderr, "pod \"..\" of service") {
		t.Errorf("a pod that looks like a path: %d %q", code, stderr)
	}
	if code, _, stderr := s.run("pods", "nothing"); code != 1 || stderr != "routectl: no service \"nothing\"\n" {
		t.Errorf("an unknown service: %d %q", code, stderr)
	}
}
