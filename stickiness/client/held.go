package client

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/history"
	"github.com/stateful-route/stateful-route/stickiness/schedule"
)

// held is a stream that a session holds.
type held struct {
	number  int
	gateway int
	talker  talker // nil: an event stream, which talks by itself
	close   func() // ends it; may be called again
	reader  sync.WaitGroup
	last    time.Duration // when it was last heard of

	mu    sync.Mutex
	ended bool
}

// talker says something on a stream and hears the answer.
type talker interface {
	talk(nonce string) ([]byte, error)
}

// opening makes streams of one kind.
type opening func(ctx context.Context, s *session, v schedule.Visit, r *history.Record) (*held, *http.Response, error)

func openings() map[history.Kind]opening {
	return map[history.Kind]opening{history.WebSocket: openSocket, history.GRPC: openGRPC, history.Events: openEvents}
}

var errCut = errors.New("the stream was cut")

// stream talks on the held stream, and takes a new one where there is none.
func (s *session) stream(ctx context.Context, v schedule.Visit) {
	if s.held != nil && s.held.isEnded() {
		s.letGo()
	}
	if s.held == nil {
		s.open(ctx, v)
		return
	}
	h := s.held
	if h.talker == nil {
		return
	}
	r := s.begin(schedule.Visit{Gateway: h.gateway}, s.Clients.Streams)
	r.Stream = h.number
	body, err := h.say(r.Nonce, s.Patience)
	r.Received = s.now()
	if err != nil {
		r.Err, r.Sent = failure(err), h.last // it was cut at some time since
		s.letGo()
	} else {
		r.Status, r.Answer = http.StatusOK, parse(body)
		h.last = r.Received
	}
	s.record(r)
}

// open asks for a stream; its first message is part of that.
func (s *session) open(ctx context.Context, v schedule.Visit) {
	r := s.begin(v, s.Clients.Streams)
	r.Stream = s.streams + 1
	ctx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(s.Patience, cancel)
	h, resp, err := openings()[s.Clients.Streams](ctx, s, v, &r)
	timedOut := !timer.Stop()
	switch {
	case err != nil && timedOut:
		r.Err = "timeout"
	case err != nil:
		r.Err = failure(err)
	case h == nil: // refused
		body, err := io.ReadAll(io.LimitReader(resp.Body, most))
		_ = resp.Body.Close()
		s.answered(resp, body, err, &r)
	}
	if h == nil {
		cancel()
		r.Received = s.now()
		s.record(r)
		return
	}
	s.keep(resp.Header)
	s.streams++
	end := h.close
	h.close = func() { end(); cancel() }
	h.number, h.gateway, s.held = s.streams, v.Gateway, h
	if h.talker == nil {
		h.last = r.Sent
		h.reader.Go(func() { s.listen(ctx, h, resp.Body, r) })
		return
	}
	body, err := h.say(r.Nonce, s.Patience)
	r.Received = s.now()
	h.last = r.Received
	if err != nil {
		r.Err = failure(err)
		s.letGo()
	} else {
		r.Status, r.Answer = http.StatusOK, parse(body)
	}
	s.record(r)
}

// say talks, for no longer than patience.
func (h *held) say(nonce string, patience time.Duration) ([]byte, error) {
	timer := time.AfterFunc(patience, h.close)
	body, err := h.talker.talk(nonce)
	if !timer.Stop() {
		return nil, context.DeadlineExceeded
	}
	if err != nil {
		return nil, errCut
	}
	return body, nil
}

func (h *held) isEnded() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ended
}

// letGo ends the held stream, if there is one.
func (s *session) letGo() {
	if s.held == nil {
		return
	}
	s.held.mu.Lock()
	s.held.ended = true
	s.held.mu.Unlock()
	s.held.close()
	s.held.reader.Wait()
	s.held = nil
}
