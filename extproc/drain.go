package extproc

import (
	"context"
	"sync"

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

	none chan struct{} // told when owing falls to 0

	mu    sync.Mutex
	held  holder // a ring of the streams that are held, in which it is none
	owing int    // how many of them owe their clients something
}

func newDrain() *drain {
	d := &drain{none: make(chan struct{}, 1)}
	d.held.next, d.held.last = &d.held, &d.held
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
	d.letGo(func(h *holder) bool { return !h.owes })
	for d.owed() && ctx.Err() == nil {
		select {
		case <-d.none:
		case <-ctx.Done():
		}
	}
	d.end()
	d.letGo(func(*holder) bool { return true })
}

// owed reports whether a stream is held that owes its client something.
func (d *drain) owed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.owing > 0
}

// letGo lets go of the streams that are held and chosen.
func (d *drain) letGo(chosen func(*holder) bool) {
	d.mu.Lock()
	var all []*holder
	for h := d.held.next; h != &d.held; h = h.next {
		if chosen(h) {
			all = append(all, h)
		}
	}
	d.mu.Unlock()
	for _, h := range all {
		h.letGo()
	}
}

// holder is an answered stream that is let go of when it is time.
type holder struct {
	drain      *drain
	stream     context.Context
	owes       bool
	next, last *holder // in the drain's ring, by its mutex
}

// hold begins to watch for the moment at which the stream of ctx is to be let go of.
func (d *drain) hold(ctx context.Context, h *holder, owes bool) {
	h.drain, h.stream = d, ctx
	h.watch(owes)
}

// settled says that the response owes its client nothing any more.
func (h *holder) settled() {
	if h.owes {
		h.release()
		h.watch(false)
	}
}

func (h *holder) watch(owes bool) {
	d, until := h.drain, h.drain.begun
	if h.owes = owes; owes {
		until = d.over
	}
	d.mu.Lock()
	h.next, h.last = d.held.next, &d.held
	h.next.last, h.last.next = h, h
	if owes {
		d.owing++
	}
	late := until.Err() != nil
	d.mu.Unlock()
	if late {
		h.letGo()
	}
}

// release must be called at the stream's end.
func (h *holder) release() {
	d := h.drain
	d.mu.Lock()
	h.next.last, h.last.next = h.last, h.next
	none := false
	if h.owes {
		d.owing--
		none = d.owing == 0
	}
	d.mu.Unlock()
	if none {
		select {
		case d.none <- struct{}{}:
		default:
		}
	}
}

// finisher is a stream that can be ended while its handler waits in RecvMsg, whose
// error would end it with Canceled otherwise. A grpc.Server's stream is one, though
// gRPC does not promise it; without it a stream ends when its connection does, which
// Envoy takes for an error of the callout, but goes on as well.
type finisher interface {
	WriteStatus(st *status.Status) error
}

// letGo ends the stream well.
func (h *holder) letGo() {
	if stream, ok := grpc.ServerTransportStreamFromContext(h.stream).(finisher); ok {
		// It fails only for a stream that has ended otherwise.
		_ = stream.WriteStatus(status.New(codes.OK, ""))
	}
}
