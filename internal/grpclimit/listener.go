package grpclimit

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/peer"
)

// Listener returns l bounded: what it accepts beyond the limit of connections is
// closed at once.
func (g *Guard) Listener(l net.Listener) net.Listener { return &listener{l, g} }

type listener struct {
	net.Listener
	guard *Guard
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		address := remoteHost(c)
		if limit, most := l.guard.conns.admit(address); limit != "" {
			_ = c.Close() // nobody is told of an error: the connection is refused
			l.guard.refusals.add(time.Now(), limit, address, tooMany(limit, most, "connections").status.Message())
			continue
		}
		setUserTimeout(c, pingTimeout)
		return &conn{Conn: c, guard: l.guard, address: address, streams: l.guard.streams.Share()}, nil
	}
}

// conns counts the open connections.
type conns struct {
	most, mostOfAddress int

	mu        sync.Mutex
	open      int
	byAddress map[string]int
}

// The limits that a connection may go beyond.
const (
	limitConnections = "connections"
	limitOfAddress   = "connections_of_address"
)

// admit takes a place for a connection, or names the limit that leaves none.
func (c *conns) admit(address string) (limit string, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.open >= c.most:
		return limitConnections, c.most
	case address != "" && c.byAddress[address] >= c.mostOfAddress:
		return limitOfAddress, c.mostOfAddress
	}
	c.open++
	c.byAddress[address]++
	return "", 0
}

func (c *conns) leave(address string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	if c.byAddress[address]--; c.byAddress[address] == 0 {
		delete(c.byAddress, address)
	}
}

func (c *conns) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

// remoteHost is the address whose connections are counted together. It is empty,
// and nothing is counted, where the client is on this machine: all that are share
// one address.
func remoteHost(c net.Conn) string {
	tcp, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() {
		return ""
	}
	return tcp.IP.String()
}

// conn is an admitted connection; closing it, as often as one likes, frees its
// place once.
type conn struct {
	net.Conn
	guard   *Guard
	address string
	streams Share
	closed  atomic.Bool
}

func (c *conn) Close() error {
	if !c.closed.Swap(true) {
		c.guard.conns.leave(c.address)
	}
	return c.Conn.Close()
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
