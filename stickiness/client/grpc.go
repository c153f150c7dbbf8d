package client

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/stateful-route/stateful-route/stickiness/history"
	"github.com/stateful-route/stateful-route/stickiness/pod"
	"github.com/stateful-route/stateful-route/stickiness/schedule"
)

// call is a gRPC stream of both directions.
type call struct {
	out io.Writer
	in  io.Reader
}

func (c *call) talk(nonce string) ([]byte, error) {
	if _, err := c.out.Write(pod.Frame([]byte(nonce))); err != nil {
		return nil, err
	}
	return pod.ReadFrame(c.in)
}

func openGRPC(ctx context.Context, s *session, v schedule.Visit, r *history.Record) (*held, *http.Response, error) {
	in, out := io.Pipe()
	req, err := s.newRequest(ctx, http.MethodPost, s.GRPCAddresses[v.Gateway], pod.TalkPath, in, v, r)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	resp, err := s.http2.RoundTrip(req)
	if err == nil {
		refusedByStatus(resp)
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		_ = out.Close()
		return nil, resp, err
	}
	closed := sync.OnceFunc(func() {
		_ = out.CloseWithError(io.ErrClosedPipe)
		_ = resp.Body.Close()
	})
	return &held{talker: &call{out, resp.Body}, close: closed}, resp, nil
}

// refusedByStatus turns a refusal in gRPC's way, a status instead of a stream,
// into one of HTTP's.
func refusedByStatus(resp *http.Response) {
	status := resp.Header.Get("Grpc-Status")
	if resp.StatusCode != http.StatusOK || status == "" || status == "0" {
		return
	}
	_ = resp.Body.Close()
	resp.StatusCode = http.StatusServiceUnavailable
	resp.Body = io.NopCloser(strings.NewReader("grpc-status " + status + " " + resp.Header.Get("Grpc-Message")))
}
