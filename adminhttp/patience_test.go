package adminhttp

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// A client that asks and does not read is cut off, however slowly the handler
// writes; one that reads is not, though the whole answer takes longer.
func TestAClientThatDoesNotReadIsCutOff(t *testing.T) {
	const short = 200 * time.Millisecond
	part := make([]byte, 1<<20)
	ended := make(chan error, 1)
	server := httptest.NewServer(patient(short, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var err error
		for range 64 {
			if _, err = w.Write(part); err != nil {
				break
			}
		}
		ended <- err
	})))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Error("64 MiB were written to a client that reads nothing")
	}
}

func TestASlowAnswerIsNotCutOff(t *testing.T) {
	const short = 100 * time.Millisecond
	go1, flushed := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(patient(short, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/empty" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_, _ = io.WriteString(w, "one\n")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		close(flushed)
		<-go1
		_, _ = io.WriteString(w, "two\n")
	})))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
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
	<-flushed
	elapse(short)
	close(go1)
	body, err := io.ReadAll(answer.Body)
	if err != nil || string(body) != "one\ntwo\n" {
		t.Errorf("got %q, %v", body, err)
	}
	elapse(short)
	// A deadline of the answer before must not hold for the next on the connection.
	next := ask("/empty")
	defer next.Body.Close()
	if next.StatusCode != http.StatusNoContent {
		t.Errorf("the second answer: %s", next.Status)
	}
}

// elapse returns when d has passed: what is tested is that time alone ends nothing.
func elapse(d time.Duration) { <-time.After(2 * d) }
