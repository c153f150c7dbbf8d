package grpclimit

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// Inspector looks at what one stream receives. Its methods are called one after
// the other.
type Inspector interface {
	// Received may shorten the message before the handler gets it. A Refusal
	// ends the stream.
	Received(message any) *Refusal
	// Ended is the last call.
	Ended()
}

// The limits that a stream may go beyond, whatever it carries.
const (
	limitStreams     = "streams"
	limitMessageSize = "message_size"
	limitNameLength  = "name_length"
)

// maxHealthName bounds the service a health check asks about: a watch keeps it.
const maxHealthName = 256

func (g *Guard) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	c := connOf(ss.Context())
	if err := g.enter(c); err != nil {
		return err
	}
	defer g.leave(c)
	s := &stream{ServerStream: ss, guard: g, conn: c}
	if g.opts.Inspect != nil {
		s.inspector = g.opts.Inspect(info.FullMethod)
	}
	err := next(srv, s)
	s.end()
	// A handler may not pass on what ended its stream.
	if r := s.refused.Load(); r != nil {
		return r
	}
	return err
}

func (g *Guard) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	c := connOf(ctx)
	if err := g.enter(c); err != nil {
		return nil, err
	}
	defer g.leave(c)
	if r := checkHealth(req); r != nil {
		g.refused(c, r)
		return nil, r
	}
	return next(ctx, req)
}

// enter takes a place for a stream.
func (g *Guard) enter(c *conn) error {
	if c != nil && !c.streams.Take(1) {
		r := tooMany(limitStreams, g.opts.Streams, "streams")
		g.refused(c, r)
		return r
	}
	g.open.Add(1)
	return nil
}

func (g *Guard) leave(c *conn) {
	g.open.Add(-1)
	if c != nil {
		c.streams.Give(1)
	}
}

func (g *Guard) refused(c *conn, r *Refusal) {
	from := ""
	if c != nil {
		from = c.Conn.RemoteAddr().String()
	}
	g.refusals.add(time.Now(), r.Limit, from, r.status.Message())
}

// stream is a server stream whose messages are looked at.
type stream struct {
	grpc.ServerStream
	guard   *Guard
	conn    *conn
	refused atomic.Pointer[Refusal]

	// mu is for handlers that receive in another goroutine than the one that
	// ends the stream.
	mu        sync.Mutex
	inspector Inspector // nil: there is none, or the stream has ended
}

// RecvMsg receives a message and refuses it where it goes beyond a limit.
func (s *stream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	if err != nil {
		// Nothing else that receiving reports has this code. A status is made of every other
		// error, and most streams end with this one.
		if !errors.Is(err, io.EOF) && status.Code(err) == codes.ResourceExhausted {
			return s.refuse(Refuse(limitMessageSize, codes.ResourceExhausted, "the message is too large: at most %d bytes", s.guard.opts.MessageSize))
		}
		return err
	}
	if r := s.inspect(m); r != nil {
		return s.refuse(r)
	}
	return nil
}

func (s *stream) inspect(m any) *Refusal {
	if r := checkHealth(m); r != nil {
		return r
	}
	if s.guard.opts.Inspect == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inspector == nil {
		return nil
	}
	return s.inspector.Received(m)
}

func (s *stream) refuse(r *Refusal) error {
	s.refused.Store(r)
	s.guard.refused(s.conn, r)
	return r
}

func (s *stream) end() {
	if s.guard.opts.Inspect == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inspector != nil {
		s.inspector.Ended()
		s.inspector = nil
	}
}

func checkHealth(m any) *Refusal {
	if check, ok := m.(*healthv1.HealthCheckRequest); ok && len(check.GetService()) > maxHealthName {
		return Refuse(limitNameLength, codes.InvalidArgument, "the service's name is too long: at most %d bytes", maxHealthName)
	}
	return nil
}
