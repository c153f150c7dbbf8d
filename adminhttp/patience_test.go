package adminhttp

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// oneConn is a listener with one connection, one of a pipe: that has the deadlines of
// the bubble's clock.
type oneConn struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func (l *oneConn) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *oneConn) Close() error   { l.close(); return nil }
func (l *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// dialPatient connects to a server that serves by the handler, in the test's bubble.
func dialPatient(t *testing.T, handler http.HandlerFunc) net.Conn {
	t.Helper()
	conn, accepted := net.Pipe()
	listener := &oneConn{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
	listener.close = sync.OnceFunc(func() { close(listener.closed) })
	listener.conns <- accepted
	server := &http.Server{Handler: patient(patience, handler)}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := errors.Join(conn.Close(), server.Close()); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return conn
}

// A client that asks and does not read is cut off, however slowly the handler
// writes; one that reads is not, though the whole answer takes longer.
func TestAClientThatDoesNotReadIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		part := make([]byte, 1<<20)
		ended := make(chan error, 1)
		conn := dialPatient(t, func(w http.ResponseWriter, _ *http.Request) {
			var err error
			for range 64 {
				if _, err = w.Write(part); err != nil {
					break
				}
			}
			ended <- err
		})
		began := time.Now()
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err == nil {
			t.Error("64 MiB were written to a client that reads nothing")
		}
		if took := time.Since(began); took != patience {
			t.Errorf("it was cut off after %v, want %v", took, patience)
		}
	})
}

func TestASlowAnswerIsNotCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := dialPatient(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/empty" {
				w.WriteHeader(http.StatusNoContent)
				return
			}
			_, _ = io.WriteString(w, "one\n")
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			time.Sleep(2 * patience)
			_, _ = io.WriteString(w, "two\n")
			time.Sleep(2 * patience) // it is with the server still
		})
		in := bufio.NewReader(conn)
		ask := func(path string) *http.Response {
			if _, err := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			answer, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			return answer
		}
		answer := ask("/")
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil || string(body) != "one\ntwo\n" {
			t.Errorf("got %q, %v", body, err)
		}
		time.Sleep(2 * patience)
		// A deadline of the answer before must not hold for the next on the connection.
		next := ask("/empty")
		defer next.Body.Close()
		if next.StatusCode != http.StatusNoContent {
			t.Errorf("the second answer: %s", next.Status)
		}
	})
}
