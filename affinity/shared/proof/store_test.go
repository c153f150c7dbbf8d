package proof_test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/internal/redistest"
)

// clockLibrary is testdata/clock.c, compiled once; empty where there is no C compiler.
var clockLibrary = sync.OnceValue(func() string {
	cc, err := exec.LookPath("cc")
	if err != nil {
		return ""
	}
	dir, err := os.MkdirTemp("", "proof-clock-")
	if err != nil {
		return ""
	}
	out := filepath.Join(dir, "clock.so")
	if err := exec.Command(cc, "-shared", "-fPIC", "-O1", "-o", out, "testdata/clock.c").Run(); err != nil { //nolint:gosec // of this package
		return ""
	}
	return out
})

// server is one that may be the store.
type server struct {
	*redistest.Server
	t      *testing.T
	socket string
	clock  string // file with how many seconds its clock is ahead
}

// startServer starts one; aof keeps all that is acknowledged over a restart.
func startServer(t *testing.T, aof bool) *server {
	t.Helper()
	// A socket's name is short.
	dir, err := os.MkdirTemp("", "proof-") //nolint:usetesting // as it says
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &server{t: t, socket: filepath.Join(dir, "store.sock"), clock: filepath.Join(dir, "clock")}
	s.setClock(0)
	args := []string{"--unixsocket", s.socket, "--repl-diskless-sync-delay", "0"}
	if aof {
		args = append(args, "--appendonly", "yes", "--appendfsync", "always")
	}
	var env []string
	if lib := clockLibrary(); lib != "" {
		env = []string{"LD_PRELOAD=" + lib, "CLOCK_FILE=" + s.clock}
	}
	s.Server = redistest.StartWith(t, env, args...)
	return s
}

// setClock has the server's wall clock be some seconds ahead.
func (s *server) setClock(ahead time.Duration) {
	f, err := os.OpenFile(s.clock, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	b := binary.NativeEndian.AppendUint64(nil, uint64(int64(ahead/time.Second))) //nolint:gosec // two's complement
	if _, err := f.WriteAt(b, 0); err != nil {
		s.t.Fatal(err)
	}
}

// do is a command that has to succeed.
func (s *server) do(command string) string {
	s.t.Helper()
	said, err := s.Do(command)
	if err != nil || strings.HasPrefix(said, "-") {
		s.t.Fatalf("%s: %s, %v", command, said, err)
	}
	return said
}

// forgetDump has the server know nothing after a restart.
func (s *server) forgetDump() { _ = os.Remove(filepath.Join(s.Dir(), "dump.rdb")) }
