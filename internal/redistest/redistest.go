// Package redistest runs a real Redis or Valkey server for tests.
package redistest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Find returns the server that is installed: Valkey's, or Redis', which speaks the same.
func Find() (path string, err error) {
	for _, name := range []string{"valkey-server", "redis-server"} {
		if path, err = exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("neither valkey-server nor redis-server is installed: %w", err)
}

// Server is one that may be killed, stopped and started again on its address.
type Server struct {
	t    testing.TB
	path string
	env  []string
	args []string
	// first are arguments that must come first.
	first []string
	// pinned is the certificate of one that speaks TLS.
	pinned []byte
	dir    string
	addr   string
	cmd    *exec.Cmd
}

// Start runs a server on a free port of this machine until the test ends. It keeps nothing
// over a restart unless args say so. Without a server installed the test is skipped.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return StartWith(t, nil, args...)
}

// StartWith is Start with more in the server's environment, KEY=VALUE each.
func StartWith(t testing.TB, env []string, args ...string) *Server {
	t.Helper()
	path, err := Find()
	if err != nil {
		t.Skip(err)
	}
	s := &Server{t: t, path: path, env: env, args: args, dir: t.TempDir(), addr: freeAddress(t)}
	s.Restart()
	t.Cleanup(func() { s.end() })
	return s
}

// StartSentinel runs a sentinel that knows master by a name.
func StartSentinel(t testing.TB, name string, master *Server) *Server {
	t.Helper()
	host, port, err := net.SplitHostPort(master.addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, path: master.path, dir: t.TempDir(), addr: freeAddress(t)}
	file := filepath.Join(s.dir, "sentinel.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, "sentinel monitor %s %s %s 1\n", name, host, port), 0o600); err != nil {
		t.Fatal(err)
	}
	s.first = []string{file, "--sentinel"}
	s.Restart()
	t.Cleanup(func() { s.end() })
	return s
}

// StartTLS is Start of a server that speaks TLS alone and wants no certificate of its clients.
func StartTLS(t testing.TB, cert, key string) *Server {
	t.Helper()
	path, err := Find()
	if err != nil {
		t.Skip(err)
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, path: path, dir: t.TempDir(), addr: freeAddress(t), pinned: pair.Certificate[0]}
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		t.Fatal(err)
	}
	s.args = []string{"--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no"}
	s.Restart()
	t.Cleanup(func() { s.end() })
	return s
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Addr is its HOST:PORT.
func (s *Server) Addr() string { return s.addr }

// Dir is where it keeps what it keeps.
func (s *Server) Dir() string { return s.dir }

// Restart starts the server, which does not run, and returns when it answers.
func (s *Server) Restart() {
	s.t.Helper()
	_, port, err := net.SplitHostPort(s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	plain := port
	if s.pinned != nil {
		plain = "0"
	}
	args := append(slices.Clone(s.first), "--port", plain, "--bind", "127.0.0.1", "--dir", s.dir, "--loglevel", "warning",
		"--logfile", filepath.Join(s.dir, "log"))
	if s.first == nil {
		args = append(args, "--save", "")
	}
	args = append(args, s.args...)
	s.cmd = exec.Command(s.path, args...) //nolint:gosec // a server that was looked up
	s.cmd.Env = append(os.Environ(), s.env...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); !s.answers(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			s.t.Fatalf("the store's server does not answer:\n%s", log)
		}
	}
}

func (s *Server) answers() bool {
	said, err := s.Do("PING")
	return err == nil && (strings.HasPrefix(said, "+PONG") || strings.HasPrefix(said, "-NOAUTH"))
}

func (s *Server) dial() (net.Conn, error) {
	plain := &net.Dialer{Timeout: time.Second}
	if s.pinned == nil {
		return plain.Dial("tcp", s.addr)
	}
	return tls.DialWithDialer(plain, "tcp", s.addr, &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // its certificate is compared
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			if len(raw) == 0 || !bytes.Equal(raw[0], s.pinned) {
				return errors.New("another certificate than the server's")
			}
			return nil
		},
	})
}

// Do sends one command on a connection of its own and returns the first line of the answer.
func (s *Server) Do(command string) (string, error) {
	c, err := s.dial()
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(c, "%s\r\n", command); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}

// Info is a field of what the server says of itself, empty if it has none of that name.
func (s *Server) Info(section, field string) string {
	s.t.Helper()
	c, err := s.dial()
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "INFO %s\r\nQUIT\r\n", section); err != nil {
		s.t.Fatal(err)
	}
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), field+":"); ok {
			return value
		}
	}
	return ""
}

// Kill ends the server at once.
func (s *Server) Kill() { s.end() }

// Stop has it stand still until Continue.
func (s *Server) Stop() { s.signal(syscall.SIGSTOP) }

// Continue has it go on.
func (s *Server) Continue() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) end() {
	if s.cmd == nil {
		return
	}
	// It fails only for a process that has ended.
	_ = s.cmd.Process.Signal(syscall.SIGKILL)
	_ = s.cmd.Process.Signal(syscall.SIGCONT)
	_ = s.cmd.Wait()
	s.cmd = nil
}
