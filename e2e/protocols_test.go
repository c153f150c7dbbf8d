package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// seen is what an echo pod saw of a request.
type seen struct {
	Pod     string      `json:"pod"`
	Session string      `json:"session"`
	Host    string      `json:"host"`
	Headers http.Header `json:"headers"`
}

// echoPod answers with what it saw, and takes every WebSocket, of which it sends
// back what it gets.
func echoPod(t *testing.T, name string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: harness.Patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			echoUpgraded(w, name)
			return
		}
		// A client that went away has no use for an answer.
		_ = json.NewEncoder(w).Encode(seen{name, r.Header.Get("x-session-id"), r.Host, r.Header})
	})}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return l.Addr().String()
}

// echoUpgraded ends with its connection, which Envoy's end closes.
func echoUpgraded(w http.ResponseWriter, name string) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Pod: %s\r\n\r\n", name)
	if rw.Flush() == nil {
		_, _ = io.Copy(conn, rw)
	}
}

// echoService has two echo pods, of the given hosts.
func echoService(t *testing.T, name string, hosts ...string) harness.Service {
	svc := harness.Chat(2)
	svc.Name, svc.Match = name, map[string]any{"hosts": hosts}
	for i := range svc.Pods.Static {
		pod := &svc.Pods.Static[i]
		pod.Name = fmt.Sprintf("%s-%d", name, i)
		pod.Address = echoPod(t, pod.Name)
	}
	return svc
}

// ask sends a request as it stands and returns the answer's status, and what the pod
// saw. Its connection ends with the test.
func ask(t *testing.T, s *harness.Stack, request string) (*http.Response, *bufio.ReadWriter, seen) {
	t.Helper()
	return askAt(t, strings.Trim(strings.TrimPrefix(s.URL, "http:"), "/"), request)
}

// askAt is ask at an address.
func askAt(t *testing.T, address, request string) (*http.Response, *bufio.ReadWriter, seen) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := io.WriteString(conn, request+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	rw := bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
	resp, err := http.ReadResponse(rw.Reader, nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	var saw seen
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(&saw); err != nil {
			t.Fatal(err)
		}
	}
	return resp, rw, saw
}

// However a client writes a host, and whatever it offers to speak besides, it gets
// the pod of its session.
func TestHostsAndOffersAreTakenAsClientsWriteThem(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{Services: []harness.Service{
		echoService(t, "rest", "*"), echoService(t, "wide", "*.chat.test"), echoService(t, "chat", "chat.test"),
	}})
	pods := map[string]bool{}
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: chat.test",
		"GET / HTTP/1.1\r\nHost: chat.test.",
		"GET / HTTP/1.1\r\nHost: CHAT.Test",
		"GET / HTTP/1.1\r\nHost: chat.test:8443",
		"GET / HTTP/1.1\r\nHost: Chat.test.:80",
		"GET / HTTP/1.1\r\nHost: chat.test\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2",
		"GET / HTTP/1.1\r\nHost: chat.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
		"GET / HTTP/1.1\r\nHost: chat.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: TLS/1.2, HTTP/2.0, SHTTP/1.3",
	} {
		resp, _, saw := ask(t, s, request+"\r\nx-session-id: alice") //nolint:bodyclose // ask closes it
		if resp.StatusCode != http.StatusOK || !strings.HasPrefix(saw.Pod, "chat-") || saw.Headers.Get("Upgrade") != "" {
			t.Errorf("%q: status %d, pod %q, upgrade %q", request, resp.StatusCode, saw.Pod, saw.Headers.Get("Upgrade"))
		}
		pods[saw.Pod] = true
	}
	if len(pods) != 1 {
		t.Errorf("the session was at %v", pods)
	}
	for host, want := range map[string]string{"a.chat.test.": "wide-", "a.b.Chat.test:1": "wide-", "chat.test.example": "rest-"} {
		if _, _, saw := ask(t, s, "GET / HTTP/1.1\r\nHost: "+host); !strings.HasPrefix(saw.Pod, want) { //nolint:bodyclose // ask closes it
			t.Errorf("%s: pod %q, want %s", host, saw.Pod, want)
		}
	}
	if resp, _, _ := ask(t, s, "GET / HTTP/1.0\r\nHost: chat.test"); resp.StatusCode != http.StatusUpgradeRequired { //nolint:bodyclose // ask closes it
		t.Errorf("HTTP/1.0 unasked for: status %d", resp.StatusCode)
	}
}

// A WebSocket goes to the pod of its session, opened by HTTP/1.1 or by HTTP/2.
func TestWebSocketsOverBothVersionsOfHTTP(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{Services: []harness.Service{echoService(t, "rest", "*")}})
	_, _, want := ask(t, s, "GET / HTTP/1.1\r\nHost: x\r\nx-session-id: alice")                                                   //nolint:bodyclose // ask closes it
	upgraded, rw, _ := ask(t, s, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nx-session-id: alice") //nolint:bodyclose // ask closes it
	if upgraded.StatusCode != http.StatusSwitchingProtocols || upgraded.Header.Get("X-Pod") != want.Pod {
		t.Fatalf("HTTP/1.1: status %d, pod %q, want %q", upgraded.StatusCode, upgraded.Header.Get("X-Pod"), want.Pod)
	}
	echoes(t, rw, func() error { return rw.Flush() })

	h2 := plainHTTP2(t)
	sends, body := net.Pipe()
	t.Cleanup(func() { _ = sends.Close() })
	req, err := http.NewRequest(http.MethodConnect, s.URL, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(":protocol", "websocket")
	req.Header.Set("x-session-id", "alice")
	resp, err := h2.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("X-Pod") != want.Pod {
		t.Fatalf("HTTP/2: status %d, pod %q, want %q", resp.StatusCode, resp.Header.Get("X-Pod"), want.Pod)
	}
	echoes(t, struct {
		io.Reader
		io.Writer
	}{resp.Body, sends}, func() error { return nil })
}

// A pod that answers a WebSocket's request with a refusal is heard. Of an answer that is
// neither 101 nor a refusal Envoy drops the body, with and without us.
func TestAnswersToAWebSocketThatItsPodDoesNotTake(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(1)
	answeringPods(t, &svc, func(_ int, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Said", r.URL.Path)
		if r.URL.Path == "/refused" {
			w.WriteHeader(http.StatusForbidden)
		}
	})
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	for path, want := range map[string]struct {
		status int
		body   string
	}{"/refused": {http.StatusForbidden, `{"pod": "chat-0"}`}, "/taken-for-a-page": {http.StatusOK, ""}} {
		conn := openRequest(t, s, path, "alice", "Connection: Upgrade", "Upgrade: websocket")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != want.status || string(body) != want.body || resp.Header.Get("X-Said") != path {
			t.Errorf("%s: status %d, header %v, body %q, %v; want %+v", path, resp.StatusCode, resp.Header, body, err, want)
		}
	}
}

// plainHTTP2 speaks HTTP/2 without TLS, as to a server that is known to.
//
//nolint:staticcheck // net/http's own transport has no extended CONNECT (RFC 8441)
func plainHTTP2(t *testing.T) http.RoundTripper {
	h2 := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, network, address string, _ *tls.Config) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	t.Cleanup(h2.CloseIdleConnections)
	return h2
}

func echoes(t *testing.T, rw io.ReadWriter, flush func() error) {
	t.Helper()
	const text = "hello"
	if _, err := io.WriteString(rw, text); err != nil {
		t.Fatal(err)
	}
	if err := flush(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(rw, got); err != nil || string(got) != text {
		t.Errorf("echo %q, %v", got, err)
	}
}

// What a TLS terminator before Envoy says of the client is kept only where one is
// expected.
func TestAProxyBeforeEnvoyIsTrustedWhenTold(t *testing.T) {
	t.Parallel()
	const request = "GET / HTTP/1.1\r\nHost: x\r\nx-forwarded-proto: https\r\nx-forwarded-for: 203.0.113.7\r\nx-forwarded-host: shop.example"
	for _, c := range []struct {
		hops          int
		proto, status string
	}{
		{0, "http", "426 Upgrade Required"}, {1, "https", "200 OK"},
	} {
		t.Run(fmt.Sprint(c.hops), func(t *testing.T) {
			t.Parallel()
			svc := echoService(t, "rest", "*")
			svc.Session.Issue = map[string]string{"cookie": "sid"}
			s := start(t, harness.Options{Services: []harness.Service{svc}, TrustedHops: c.hops, HTTP10: c.hops > 0})
			resp, _, saw := ask(t, s, request) //nolint:bodyclose // ask closes it
			if got := saw.Headers.Get("x-forwarded-proto"); got != c.proto {
				t.Errorf("x-forwarded-proto is %q, want %q", got, c.proto)
			}
			if got := saw.Headers.Get("x-forwarded-for"); !strings.HasPrefix(got, "203.0.113.7,") {
				t.Errorf("x-forwarded-for is %q, without the proxy's address", got)
			}
			if got := saw.Headers.Get("x-forwarded-host"); got != "shop.example" {
				t.Errorf("x-forwarded-host is %q", got)
			}
			if cookies := resp.Cookies(); len(cookies) != 1 || !cookies[0].Secure {
				t.Errorf("cookies %v: the browser came by TLS", cookies)
			}
			for _, old := range []string{"GET / HTTP/1.0", "GET / HTTP/1.0\r\nHost: x"} {
				if resp, _, _ := ask(t, s, old); resp.Status != c.status { //nolint:bodyclose // ask closes it
					t.Errorf("%q: %s, want %s", old, resp.Status, c.status)
				}
			}
		})
	}
}

// Clients of both address families get the pod of their session, at every address.
func TestListenersOfBothAddressFamilies(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{Services: []harness.Service{echoService(t, "rest", "*")}})
	_, dual, _ := strings.Cut(harness.Address(t), ":")
	_, other, _ := strings.Cut(harness.Address(t), ":")
	s.Change(t, func(c *harness.Config) {
		c.Envoy.Listener = []harness.Listener{{Address: "[::]:" + dual}, {Address: "127.0.0.1:" + other}}
	})
	pods := map[string]bool{}
	for _, address := range []string{"127.0.0.1:" + dual, "[::1]:" + dual, "127.0.0.1:" + other} {
		harness.Eventually(t, harness.Patience, "Envoy listens on "+address, func() error {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				return err
			}
			return conn.Close()
		})
		_, _, saw := askAt(t, address, "GET / HTTP/1.1\r\nHost: x\r\nx-session-id: alice") //nolint:bodyclose // askAt closes it
		pods[saw.Pod] = true
	}
	if len(pods) != 1 || pods[""] {
		t.Errorf("the session was at %v", pods)
	}
}
