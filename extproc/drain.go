package extproc

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// drain is how a Server that is about to end lets go of its streams.
//
// Envoy keeps a stream for as long as the request lives, which may be hours. What
// is decided needs no extproc any more: where a stream ends well after the answer,
// Envoy goes on without. Only a response that is to give its client something, an
// issued cookie or a learned session, or to end its session, is waited for a little.
type drain struct {
	begun context.Context // ends when streams that owe nothing are let go of
	begin context.CancelFunc
	over  context.Context // ends when all are
	end   context.CancelFunc

	owing atomic.Int64  // streams whose response is to give its client something, or to end its session
	none  chan struct{} // told when owing falls to 0
}

func newDrain() *drain {
	d := &drain{none: make(chan struct{}, 1)}
	d.begun, d.begin = context.WithCancel(context.Background())
	d.over, d.end = context.WithCancel(context.Background())
	return d
}

// Drain lets go of every stream whose request was answered, and of those that
// come later as soon as they are: Envoy goes on without us. It returns when no
// response is waited for any more, or when ctx ends. Streams that wait for the first services end with Unavailable, upon
// which Envoy asks again.
func (s *Server) Drain(ctx context.Context) {
	d := s.drain
	d.begin()
	for d.owing.Load() > 0 && ctx.Err() == nil {
		select {
		case <-d.none:
		case <-ctx.Done():
		}
	}
	d.end()
}

// finisher is a stream that can be ended while its handler waits in Recv, whose
// error would end it with Canceled otherwise. A grpc.Server's stream is one, though
// gRPC does not promise it; without it a stream ends when its connection does, which
// Envoy takes for an error of the callout, but goes on as well.
type finisher interface {
	WriteStatus(st *status.Status) error
}

// finish returns what ends the stream of ctx well; nil where that cannot be done.
func finish(ctx context.Context) func() {
	stream, ok := grpc.ServerTransportStreamFromContext(ctx).(finisher)
	if !ok {
		return nil
	}
	return func() {
		// It fails only for a stream that has ended otherwise.
		_ = stream.WriteStatus(status.New(codes.OK, ""))
	}
}

// holder lets go of one answered stream when it is time.
type holder struct {
	drain *drain
	letGo func() // nil where it cannot be done
	stop  func() bool
	owes  bool
}

// hold begins to watch for the moment at which the stream is to be let go of.
func (d *drain) hold(ctx context.Context, owes bool) *holder {
	h := &holder{drain: d, letGo: finish(ctx)}
	h.watch(owes)
	return h
}

// settled says that the response owes its client nothing any more.
func (h *holder) settled() {
	if h.owes {
		h.release()
		h.watch(false)
	}
}

func (h *holder) watch(owes bool) {
	h.owes = owes
	until := h.drain.begun
	if owes {
		until = h.drain.over
		h.drain.owing.Add(1)
	}
	h.stop = func() bool { return true }
	if h.letGo != nil {
		h.stop = context.AfterFunc(until, h.letGo)
	}
}

// release must be called at the stream's end.
func (h *holder) release() {
	h.stop()
	if !h.owes {
		return
	}
	h.owes = false
	if h.drain.owing.Add(-1) == 0 {
		select {
		case h.drain.none <- struct{}{}:
		default:
		}
	}
}
