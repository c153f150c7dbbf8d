// Package extproctest has what tests around package extproc need: a service, its
// directory, and a request.
package extproctest

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/extproc"
	"github.com/stateful-route/stateful-route/insight/metrics"
	"github.com/stateful-route/stateful-route/wire"
)

// Chat is a service with one header key; change adapts it.
func Chat(change ...func(*statefulroute.Service)) statefulroute.Service {
	s := statefulroute.Service{
		Name: "chat",
		Session: statefulroute.SessionPolicy{
			Key:           []statefulroute.SessionSource{{Kind: statefulroute.FromHeader, Name: "x-session-id"}},
			OnPodLoss:     statefulroute.Rebind,
			OnExtprocLoss: statefulroute.Allow,
		},
		Balancing: statefulroute.BalancingPolicy{Strategy: "round_robin"},
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

// Rejecting makes Chat refuse sessions whose pod is lost.
func Rejecting(s *statefulroute.Service) { s.Session.OnPodLoss = statefulroute.Reject }

// Pods returns n ready pods, chat-0 at 127.0.0.1:9100 and so on.
func Pods(n int) []statefulroute.Pod {
	out := make([]statefulroute.Pod, n)
	for i := range out {
		out[i] = statefulroute.Pod{
			Name:    fmt.Sprintf("chat-%d", i),
			Address: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(9100+i)),
			Weight:  1,
		}
	}
	return out
}

// WithState is pods with one in another state.
func WithState(pods []statefulroute.Pod, name string, s statefulroute.PodState) []statefulroute.Pod {
	out := append([]statefulroute.Pod(nil), pods...)
	for i := range out {
		if out[i].Name == name {
			out[i].State = s
		}
	}
	return out
}

// NewDirectory is a directory that was told nothing yet, and what it counts with.
func NewDirectory(t testing.TB) (*extproc.Directory, *metrics.Monitor) {
	t.Helper()
	m, err := metrics.NewMonitor(metrics.MonitorOptions{Process: "extproc"})
	if err != nil {
		t.Fatal(err)
	}
	d, err := extproc.NewDirectory(extproc.DirectoryOptions{Monitor: m})
	if err != nil {
		t.Fatal(err)
	}
	return d, m
}

// Eventually polls: what it waits for happens in another process's stead.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("did not happen: %s", what)
		}
	}
}

// Ask has a server decide one request of a service with a header key.
func Ask(t testing.TB, d *extproc.Directory, table extproc.Table, service, key string) {
	t.Helper()
	server, err := extproc.NewServer(extproc.ServerOptions{Directory: d, Table: table})
	if err != nil {
		t.Fatal(err)
	}
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(wire.ServiceMetadata, service))
	if err := server.Process(&oneRequest{ctx: ctx, key: key}); err != nil {
		t.Fatal(err)
	}
}

// oneRequest is a stream with the headers of one request and nothing else.
type oneRequest struct {
	grpc.ServerStream
	ctx  context.Context
	key  string
	sent bool
}

func (s *oneRequest) Context() context.Context { return s.ctx }

func (s *oneRequest) Send(*extprocv3.ProcessingResponse) error { return nil }

func (s *oneRequest) Recv() (*extprocv3.ProcessingRequest, error) {
	if s.sent {
		return nil, io.EOF
	}
	s.sent = true
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{
		Headers: &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "x-session-id", RawValue: []byte(s.key)}}},
	}}}, nil
}
