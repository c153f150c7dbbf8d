package client

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/stateful-route/stateful-route/stickiness/history"
	"github.com/stateful-route/stateful-route/stickiness/pod"
	"github.com/stateful-route/stateful-route/stickiness/schedule"
)

// socket is a WebSocket's side of the client, as much of it as short texts need
// (RFC 6455). It is written out because a library's would not tell the status and
// the cookies of the handshake.
type socket struct {
	conn io.ReadWriteCloser
	in   *bufio.Reader
}

func openSocket(ctx context.Context, s *session, v schedule.Visit, r *history.Record) (*held, *http.Response, error) {
	req, err := s.newRequest(ctx, http.MethodGet, s.Addresses[v.Gateway], pod.SocketPath, nil, v, r)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "websocket")
	req.Header.Set("Sec-WebSocket-Version", "13")
	req.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	req.Header.Set("Origin", "http://"+req.Host)
	resp, err := s.http1.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, resp, err
	}
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if !ok {
		return nil, nil, errors.New("the connection was not switched")
	}
	closed := sync.OnceFunc(func() { _ = conn.Close() })
	return &held{talker: &socket{conn, bufio.NewReader(conn)}, close: closed}, resp, nil
}

func (s *socket) talk(nonce string) ([]byte, error) {
	const text, masked, short = 0x81, 0x80, 126
	if len(nonce) >= short {
		return nil, fmt.Errorf("a nonce of %d bytes", len(nonce))
	}
	// With a mask of zeros the text stands for itself.
	frame := append([]byte{text, masked | byte(len(nonce)), 0, 0, 0, 0}, nonce...)
	if _, err := s.conn.Write(frame); err != nil {
		return nil, err
	}
	return s.read(text)
}

func (s *socket) read(kind byte) ([]byte, error) {
	const long = 126
	var head [2]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return nil, err
	}
	n := uint16(head[1])
	if head[0] != kind || n > long {
		return nil, fmt.Errorf("a frame of another kind, % x", head)
	}
	if n == long {
		if err := binary.Read(s.in, binary.BigEndian, &n); err != nil {
			return nil, err
		}
	}
	message := make([]byte, n)
	_, err := io.ReadFull(s.in, message)
	return message, err
}
