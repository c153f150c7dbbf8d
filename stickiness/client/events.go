package client

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/stateful-route/stateful-route/stickiness/history"
	"github.com/stateful-route/stateful-route/stickiness/pod"
	"github.com/stateful-route/stateful-route/stickiness/schedule"
)

func openEvents(ctx context.Context, s *session, v schedule.Visit, r *history.Record) (*held, *http.Response, error) {
	req, err := s.newRequest(ctx, http.MethodGet, s.Addresses[v.Gateway], pod.EventsPath, nil, v, r)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set(pod.EveryHeader, s.Every.String())
	resp, err := s.http1.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		return nil, resp, err
	}
	return &held{close: sync.OnceFunc(func() { _ = resp.Body.Close() })}, resp, nil
}

// eventSent is when the n-th event may have been sent at the earliest: the pod's clock ticked
// n times since the stream was asked for. When the one before was heard of says nothing, for
// events wait in buffers while the client does not run.
func eventSent(asked, every time.Duration, n int) time.Duration {
	return asked + time.Duration(n)*every
}

// listen records every event until the stream ends, and its end unless the session
// let it go.
func (s *session) listen(ctx context.Context, h *held, body io.Reader, first history.Record) {
	lines := bufio.NewScanner(body)
	for n := 0; lines.Scan(); {
		data, found := strings.CutPrefix(lines.Text(), "data: ")
		if !found {
			continue
		}
		r := first
		r.Nonce, r.Sent, r.Received = pod.EventNonce(first.Nonce, n), eventSent(first.Sent, s.Every, n), s.now()
		r.Status, r.Answer = http.StatusOK, parse([]byte(data))
		h.last = r.Received
		n++
		s.record(r)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended || ctx.Err() != nil {
		return
	}
	h.ended = true
	r := first
	r.Sent, r.Received, r.Err = h.last, s.now(), failure(errCut)
	s.record(r)
}
