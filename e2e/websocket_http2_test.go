package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// extendedConnectPod speaks HTTP/2 alone and knows RFC 8441, which net/http's server does
// not unless a variable of the process says so. It takes every WebSocket, of which it
// sends back what it gets, and answers anything else with its name.
func extendedConnectPod(t *testing.T, name string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
				defer func() { _ = conn.Close() }()
				_ = serveExtendedConnect(conn, name) // until its client is gone
			})
		}
	})
	t.Cleanup(func() { cancel(); _ = l.Close(); serving.Wait() })
	return l.Addr().String()
}

func serveExtendedConnect(conn net.Conn, name string) error {
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(conn, preface); err != nil {
		return err
	}
	f := http2.NewFramer(conn, conn)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := f.WriteSettings(http2.Setting{ID: http2.SettingEnableConnectProtocol, Val: 1}); err != nil {
		return err
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return err
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				err = f.WritePing(true, frame.Data)
			}
		case *http2.MetaHeadersFrame:
			err = answerFrames(f, frame, name)
		case *http2.DataFrame:
			err = f.WriteData(frame.StreamID, frame.StreamEnded(), frame.Data())
		}
		if err != nil {
			return err
		}
	}
}

func answerFrames(f *http2.Framer, asked *http2.MetaHeadersFrame, name string) error {
	socket := asked.PseudoValue("method") == http.MethodConnect && asked.PseudoValue("protocol") == "websocket"
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	err := errors.Join(enc.WriteField(hpack.HeaderField{Name: ":status", Value: "200"}), enc.WriteField(hpack.HeaderField{Name: "x-pod", Value: name}))
	err = errors.Join(err, f.WriteHeaders(http2.HeadersFrameParam{StreamID: asked.StreamID, BlockFragment: block.Bytes(), EndHeaders: true}))
	if socket {
		return err
	}
	return errors.Join(err, f.WriteData(asked.StreamID, true, fmt.Appendf(nil, `{"pod": %q}`, name)))
}

// socketAsked is the answer to the request for a WebSocket, and the WebSocket.
type socketAsked struct {
	status int
	pod    string
	socket io.ReadWriter
}

func askSocketByHTTP1(t *testing.T, s *harness.Stack, path string) socketAsked {
	t.Helper()
	conn := openRequest(t, s, path, "alice", "Connection: Upgrade", "Upgrade: websocket")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return socketAsked{resp.StatusCode, resp.Header.Get("X-Pod"), struct {
		io.Reader
		io.Writer
	}{r, conn}}
}

func askSocketByHTTP2(t *testing.T, s *harness.Stack, path string) socketAsked {
	t.Helper()
	u, err := url.JoinPath(s.URL, path)
	if err != nil {
		t.Fatal(err)
	}
	sends, body := net.Pipe()
	t.Cleanup(func() { _ = sends.Close() })
	req, err := http.NewRequest(http.MethodConnect, u, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set(":protocol", "websocket")
	req.Header.Set("x-session-id", "alice")
	resp, err := plainHTTP2(t).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return socketAsked{resp.StatusCode, resp.Header.Get("X-Pod"), struct {
		io.Reader
		io.Writer
	}{resp.Body, sends}}
}

// A WebSocket to pods that are spoken to by HTTP/2 needs pods that know RFC 8441. Others, as
// those of net/http, reset the stream, which is 502; the session stays where it is.
func TestWebSocketsToPodsOfHTTP2(t *testing.T) {
	t.Parallel()
	services := servicesAt("chat", "knows", "knows-not", "auto-knows", "auto-knows-not")
	services[0].Pods.Static[0].Address = echoPod(t, "chat-0")
	for i := range services[1:] {
		svc := &services[1:][i]
		pod, auto := &svc.Pods.Static[0], strings.HasPrefix(svc.Name, "auto")
		svc.Protocol = map[bool]string{false: "http2", true: "auto"}[auto]
		if strings.HasSuffix(svc.Name, "knows") {
			pod.Address = extendedConnectPod(t, pod.Name)
		} else {
			pod.Address = protocolPod(t, pod.Name, auto)
		}
	}
	s := start(t, harness.Options{Services: services})
	for _, c := range []struct {
		path   string
		ask    func(*testing.T, *harness.Stack, string) socketAsked
		client string
		status int
	}{
		{"/knows", askSocketByHTTP1, "HTTP/1.1", http.StatusSwitchingProtocols},
		{"/knows", askSocketByHTTP2, "HTTP/2", http.StatusOK},
		{"/auto-knows", askSocketByHTTP2, "HTTP/2", http.StatusOK},
		{"/knows-not", askSocketByHTTP1, "HTTP/1.1", http.StatusBadGateway},
		{"/knows-not", askSocketByHTTP2, "HTTP/2", http.StatusBadGateway},
		{"/auto-knows-not", askSocketByHTTP2, "HTTP/2", http.StatusBadGateway},
	} {
		got := c.ask(t, s, c.path)
		if got.status != c.status {
			t.Errorf("%s by %s: status %d, want %d", c.path, c.client, got.status, c.status)
			continue
		}
		if c.status != http.StatusBadGateway {
			if want := c.path[1:] + "-0"; got.pod != want {
				t.Errorf("%s by %s: pod %q", c.path, c.client, got.pod)
			}
			echoes(t, got.socket, func() error { return nil })
		}
		if c.client == "HTTP/1.1" || strings.HasSuffix(c.path, "knows-not") {
			if a, err := s.OK(harness.Path(c.path), harness.InHeader("alice")); err != nil || a.Pod != c.path[1:]+"-0" {
				t.Errorf("%s: a request of the session after it: %+v, %v", c.path, a, err)
			}
		}
	}
}
