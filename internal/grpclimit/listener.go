package grpclimit

import (
	"context"
	"net"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/stateful-route/stateful-route/internal/connlimit"
)

// Listener returns l bounded: what it accepts beyond the limit of connections is
// closed at once.
func (g *Guard) Listener(l net.Listener) net.Listener {
	return &listener{g.conns.Listener(l, func(r connlimit.Refused) {
		g.refusals.add(time.Now(), r.Limit, r.Address, tooMany(r.Limit, r.Most, "connections").status.Message())
	}), g}
}

type listener struct {
	net.Listener
	guard *Guard
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if admitted, ok := c.(*connlimit.Conn); ok {
		setUserTimeout(admitted.Conn, pingTimeout)
	}
	return &conn{Conn: c, streams: l.guard.streams.Share()}, nil
}

// conn is an admitted connection.
type conn struct {
	net.Conn
	streams Share
}

// RemoteAddr carries the connection to the handlers of its streams: gRPC hands
// them the peer's address, and nothing else of the connection.
func (c *conn) RemoteAddr() net.Addr { return connAddr{c.Conn.RemoteAddr(), c} }

type connAddr struct {
	net.Addr
	conn *conn
}

// connOf is the connection of a stream, nil where it did not come by Listener.
func connOf(ctx context.Context) *conn {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	if a, ok := p.Addr.(connAddr); ok {
		return a.conn
	}
	return nil
}
