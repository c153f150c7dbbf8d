// Package connlimit bounds the connections of a server. What comes beyond the
// bound is closed at once, and those that are there stay; one remote address gets
// half of the places, so that one machine cannot take them all. The clients on this
// machine have no such part: they share one address.
//
//	limit := connlimit.New(1000)
//	err := server.Serve(limit.Listener(listener, func(r connlimit.Refused) { … }))
package connlimit

import (
	"net"
	"sync"
	"sync/atomic"
)

// The limits that a connection may go beyond.
const (
	// All is the limit of all connections together.
	All = "connections"
	// OfAddress is that of one remote address.
	OfAddress = "connections_of_address"
)

// Refused is a connection that was closed.
type Refused struct {
	Limit   string // All or OfAddress
	Most    int
	Address string // without the port; empty for this machine's
}

// Limit counts the connections of one server. Safe for concurrent use.
type Limit struct {
	most, ofAddress int

	mu        sync.Mutex
	open      int
	byAddress map[string]int
}

// New returns a limit of so many connections, at least one; fewer where the process
// may open fewer files, of which it leaves a quarter for other things. Most tells.
func New(most int) *Limit {
	if n := maxDescriptors() * 3 / 4; n > 0 {
		most = min(most, n)
	}
	most = max(most, 1)
	return &Limit{most: most, ofAddress: (most + 1) / 2, byAddress: map[string]int{}}
}

// Most is the limit in force.
func (l *Limit) Most() int { return l.most }

// Open is how many connections there are.
func (l *Limit) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}

// Listener returns inner bounded. refused hears of each connection that is closed,
// in the goroutine that accepts. What is accepted is a *Conn.
func (l *Limit) Listener(inner net.Listener, refused func(Refused)) net.Listener {
	return &listener{inner, l, refused}
}

type listener struct {
	net.Listener
	limit   *Limit
	refused func(Refused)
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		address := remoteHost(c)
		if r := l.limit.admit(address); r != nil {
			_ = c.Close() // nobody is left to hear of an error
			l.refused(*r)
			continue
		}
		return &Conn{Conn: c, limit: l.limit, address: address}, nil
	}
}

// admit takes a place for a connection, or says why there is none.
func (l *Limit) admit(address string) *Refused {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.open >= l.most:
		return &Refused{All, l.most, address}
	case address != "" && l.byAddress[address] >= l.ofAddress:
		return &Refused{OfAddress, l.ofAddress, address}
	}
	l.open++
	l.byAddress[address]++
	return nil
}

func (l *Limit) leave(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.byAddress[address]--; l.byAddress[address] == 0 {
		delete(l.byAddress, address)
	}
}

// remoteHost is the address whose connections are counted together; empty for the
// clients on this machine.
func remoteHost(c net.Conn) string {
	tcp, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() {
		return ""
	}
	return tcp.IP.String()
}

// Conn is a connection that was admitted; closing it, as often as one likes, frees
// its place once.
type Conn struct {
	net.Conn
	limit   *Limit
	address string
	closed  atomic.Bool
}

// Close closes the connection.
func (c *Conn) Close() error {
	if !c.closed.Swap(true) {
		c.limit.leave(c.address)
	}
	return c.Conn.Close()
}
