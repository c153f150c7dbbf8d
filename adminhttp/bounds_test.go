package adminhttp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// bounded is a server with small bounds that tells the length of bodies.
func bounded(t *testing.T, change func(*bounds)) (address string) {
	t.Helper()
	b := standardBounds()
	change(&b)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%d %v", len(body), err)
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.serve(ctx, l, mux, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// say sends text on a connection and returns the answer's status line and body.
func say(t *testing.T, c net.Conn, text string) (status, body string) {
	t.Helper()
	// The server may answer, and close, before it has read everything.
	_, _ = io.WriteString(c, text)
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err.Error(), ""
	}
	defer answer.Body.Close()
	// A server that did not read everything cuts the connection after its answer.
	raw, _ := io.ReadAll(answer.Body)
	return answer.Status[:3], string(raw)
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func post(length int, body string) string {
	return fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", length, body)
}

func TestRequestsAreBounded(t *testing.T) {
	address := bounded(t, func(b *bounds) { b.body, b.bodyTime = 100, 200*time.Millisecond })
	for _, c := range []struct{ name, text, status, body string }{
		{"a body", post(100, strings.Repeat("x", 100)), "200", "100 <nil>"},
		{"none", post(0, ""), "200", "0 <nil>"},
		{"a long body", post(101, strings.Repeat("x", 101)), "413", `{"error":"the request's body: http: request body too large"}`},
		{"a body without a length", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10\r\n0123456789abcdef\r\n", 7) + "0\r\n\r\n", "413", ""},
		{"a body that does not come", post(10, "x"), "408", ""},
		{"long headers", "POST / HTTP/1.1\r\nHost: x\r\nX-Long: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", "431", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, body := say(t, dial(t, address), c.text)
			if status != c.status || c.body != "" && compact(body) != c.body {
				t.Errorf("got %s %s, want %s %s", status, body, c.status, c.body)
			}
		})
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	address := bounded(t, func(b *bounds) { b.connections = 3 })
	old := dial(t, address)
	if status, _ := say(t, old, post(1, "x")); status != "200" {
		t.Fatal(status)
	}
	dial(t, address)
	dial(t, address)
	for range 5 {
		if _, err := dial(t, address).Read(make([]byte, 1)); err == nil {
			t.Error("a connection beyond the bound hears something")
		}
	}
	if status, body := say(t, old, post(1, "x")); status != "200" || body != "1 <nil>" {
		t.Errorf("the connection that was there: %s %s", status, body)
	}
}

func TestAConnectionThatSaysNothingIsClosed(t *testing.T) {
	address := bounded(t, func(b *bounds) { b.headerTime = 50 * time.Millisecond })
	if _, err := io.ReadAll(dial(t, address)); err != nil {
		t.Error(err)
	}
}
