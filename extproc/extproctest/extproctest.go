// Package extproctest has what the tests of package extproc and of those around it need:
// a service, its pods and its table, a request, and a look at the spans. It does not know
// package extproc, so that the tests inside that can use it as well.
package extproctest

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/insight/metrics"
	"github.com/stateful-route/stateful-route/wire"
)

// From is a source of one kind.
func From(kind statefulroute.SourceKind, name string) statefulroute.SessionSource {
	return statefulroute.SessionSource{Kind: kind, Name: name}
}

// Chat is a service with one header key; change adapts it.
func Chat(change ...func(*statefulroute.Service)) statefulroute.Service {
	s := statefulroute.Service{
		Name: "chat",
		Session: statefulroute.SessionPolicy{
			Key:           []statefulroute.SessionSource{From(statefulroute.FromHeader, "x-session-id")},
			OnPodLoss:     statefulroute.Rebind,
			OnExtprocLoss: statefulroute.Allow,
			FastPath:      true,
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

// Learning makes Chat learn the sessions that its pods create.
func Learning(s *statefulroute.Service) {
	s.Session.Learn = []statefulroute.SessionSource{
		From(statefulroute.FromHeader, "Mcp-Session-Id"), From(statefulroute.FromCookie, "JSESSIONID"),
	}
	s.Session.Key = append(s.Session.Key, s.Session.Learn...)
}

// Issuing makes Chat give a cookie to clients that have no session.
func Issuing(s *statefulroute.Service) {
	s.Session.Issue = &statefulroute.IssuedCookie{Name: "stateful-route", TTL: 24 * time.Hour}
}

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
	out := slices.Clone(pods)
	for i := range out {
		if out[i].Name == name {
			out[i].State = s
		}
	}
	return out
}

// StateOf is a service with its pods.
func StateOf(svc statefulroute.Service, pods []statefulroute.Pod) wire.ServiceState {
	return wire.ServiceState{Service: svc, Pods: pods}
}

// Fleet is n services of two pods each; the generation is in the pods' names and
// addresses.
func Fleet(n, generation int) []wire.ServiceState {
	out := make([]wire.ServiceState, n)
	for i := range out {
		p := Pods(2)
		for j := range p {
			p[j].Name = fmt.Sprintf("g%d-%d", generation, j)
			p[j].Address = netip.AddrPortFrom(p[j].Address.Addr(), uint16(generation*1000+j))
		}
		out[i] = StateOf(Chat(func(s *statefulroute.Service) { s.Name = fmt.Sprintf("service-%03d", i) }), p)
	}
	return out
}

// NewTable is an empty table of one shard; change adapts its options.
func NewTable(t testing.TB, change ...func(*affinity.Options)) *affinity.Table {
	t.Helper()
	o := affinity.Options{Capacity: 1000, Shards: 1}
	for _, c := range change {
		c(&o)
	}
	table, err := affinity.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// NewMonitor is what a directory counts with.
func NewMonitor(t testing.TB) *metrics.Monitor {
	t.Helper()
	m, err := metrics.NewMonitor(metrics.MonitorOptions{Process: "extproc"})
	if err != nil {
		t.Fatal(err)
	}
	return m
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

// A trace, and what names a span of it as the parent of others.
const (
	Trace  = "0af7651916cd43dd8448eb211c80319c"
	Parent = "00-" + Trace + "-b7ad6b7169203331-01"
)

// CheckSpans looks at the spans so far: their names in the order in which they ended,
// one trace, and no key in them.
func CheckSpans(t testing.TB, spans *tracetest.SpanRecorder, want string, keys ...string) {
	t.Helper()
	var names []string
	for _, s := range spans.Ended() {
		names = append(names, s.Name())
		if got := s.SpanContext().TraceID().String(); got != Trace {
			t.Errorf("span %s is in trace %s", s.Name(), got)
		}
		for _, a := range s.Attributes() {
			for _, key := range keys {
				if strings.Contains(a.Value.String(), key) {
					t.Errorf("span %s shows the key in %s", s.Name(), a.Key)
				}
			}
		}
	}
	if got := strings.Join(names, " "); got != want {
		t.Errorf("spans %s, want %s", got, want)
	}
}

// Ask has a server decide one request of a service with a header key.
func Ask(t testing.TB, server interface {
	Process(stream grpc.ServerStream) error
}, service, key string) {
	t.Helper()
	ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs(wire.ServiceMetadata, service))
	if err := server.Process(Played(&oneRequest{ctx: ctx, key: key})); err != nil {
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
