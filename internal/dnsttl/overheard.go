package dnsttl

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"time"
)

// overheard is what the name servers said during one look-up. The resolver may leave a
// question behind that is answered late, hence the lock.
type overheard struct {
	mu      sync.Mutex
	answers []verdict
}

func (o *overheard) add(v verdict) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers = append(o.answers, v)
}

// found is the TTL of a look-up that was successful. The last answer with records was
// it: those before were of other names of the search list.
func (o *overheard) found() (ttl time.Duration, told bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, v := range o.answers {
		if v.records {
			ttl, told = v.ttl, true
		}
	}
	return ttl, told
}

// nothing is the TTL of a look-up that found nothing: any name of the search list
// may come to exist.
func (o *overheard) nothing() (ttl time.Duration, told bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, v := range o.answers {
		if v.told && !v.records && (!told || v.ttl < ttl) {
			ttl, told = v.ttl, true
		}
	}
	return ttl, told
}

// listenTo returns a connection whose messages are overheard, and which ends with ctx:
// the resolver would wait for an answer to its end. As for net.Resolver, one that is
// a net.PacketConn carries a message in each packet, any other a stream of messages
// with their lengths before them.
func (o *overheard) listenTo(ctx context.Context, conn net.Conn) net.Conn {
	ending := ending{conn, context.AfterFunc(ctx, func() { _ = conn.Close() })}
	if _, ok := conn.(net.PacketConn); ok {
		return &packets{ending, o, nil}
	}
	return &stream{ending, o, nil, nil}
}

// ending is a connection that ends early.
type ending struct {
	net.Conn
	closed func() bool
}

func (c ending) Close() error {
	c.closed()
	return c.Conn.Close()
}

type packets struct {
	ending
	heard *overheard
	asked []byte
}

func (c *packets) Write(b []byte) (int, error) {
	c.asked = append([]byte(nil), b...)
	return c.Conn.Write(b)
}

func (c *packets) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	// What was cut off is asked again by TCP.
	if v, ok := judge(c.asked, b[:n]); ok && err == nil && !v.truncated {
		c.heard.add(v)
	}
	return n, err
}

// ReadFrom and WriteTo make it a net.PacketConn.

func (c *packets) ReadFrom(b []byte) (int, net.Addr, error) {
	n, err := c.Read(b)
	return n, c.RemoteAddr(), err
}

func (c *packets) WriteTo(b []byte, _ net.Addr) (int, error) { return c.Write(b) }

type stream struct {
	ending
	heard          *overheard
	asked, replied []byte
}

func (c *stream) Write(b []byte) (int, error) {
	c.asked = append(c.asked, b...)
	return c.Conn.Write(b)
}

func (c *stream) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.replied = append(c.replied, b[:n]...)
	if reply, ok := message(c.replied); ok {
		c.replied = nil
		if asked, ok := message(c.asked); ok {
			if v, ok := judge(asked, reply); ok {
				c.heard.add(v)
			}
		}
	}
	return n, err
}

// message is a message of a stream, once it is complete.
func message(b []byte) ([]byte, bool) {
	if len(b) < 2 {
		return nil, false
	}
	length := int(binary.BigEndian.Uint16(b))
	return b[2:min(len(b), 2+length)], len(b) >= 2+length
}
