package extproc

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/insight/metrics"
	"github.com/stateful-route/stateful-route/wire"
)

// replay is one exchange without a network: a request, and a response if it is
// asked for.
type replay struct {
	grpc.ServerStream
	ctx               context.Context
	request, response *extprocv3.ProcessingRequest
	received          int
}

func (r *replay) Context() context.Context                 { return r.ctx }
func (r *replay) Send(*extprocv3.ProcessingResponse) error { return nil }
func (r *replay) Recv() (*extprocv3.ProcessingRequest, error) {
	r.received++
	switch r.received {
	case 1:
		return r.request, nil
	case 2:
		if r.response != nil {
			return r.response, nil
		}
	}
	return nil, io.EOF
}

func header(key, value string) *corev3.HeaderValue {
	return &corev3.HeaderValue{Key: key, RawValue: []byte(value)}
}

// hostile is an exchange in which everything that others can vary is random.
func hostile(ctx context.Context, random *rand.Rand) *replay {
	n := random.Uint64()
	headers := []*corev3.HeaderValue{
		header(":method", fmt.Sprintf("M%x", n)), header(":path", fmt.Sprintf("/rooms/%x?session=%x", n, n)),
		header(":authority", fmt.Sprintf("h%x.example", n)), header("user-agent", fmt.Sprintf("agent/%x", n)),
		header(fmt.Sprintf("x-%x", n), "1"),
	}
	if n%3 > 0 {
		headers = append(headers, header("x-session-id", fmt.Sprintf("k%x", random.Uint32N(5000))))
	}
	r := &replay{ctx: ctx, request: &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestHeaders{
		RequestHeaders: &extprocv3.HttpHeaders{Headers: &corev3.HeaderMap{Headers: headers}}}}}
	if n%5 > 0 {
		r.response = &extprocv3.ProcessingRequest{
			Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: &corev3.HeaderMap{
				Headers: []*corev3.HeaderValue{header(":status", strconv.Itoa(random.IntN(1200))), header("server", fmt.Sprintf("s%x", n))}}}},
			Attributes: map[string]*structpb.Struct{"envoy.filters.http.ext_proc": {Fields: map[string]*structpb.Value{
				"upstream.address": structpb.NewStringValue(fmt.Sprintf("127.0.0.1:%d", 9100+random.Uint32N(20)))}}},
		}
	}
	return r
}

// TestNoTrafficGrowsTheNumberOfSeries sends what clients and pods can vary through
// the whole of a Server, as often as a flood would.
func TestNoTrafficGrowsTheNumberOfSeries(t *testing.T) {
	requests := 1_000_000
	if testing.Short() || raceEnabled {
		requests = 20_000
	}
	lost := chat(rejecting)
	lost.Name = "lost"
	directory := newDirectory(t, wire.ServiceState{Service: chat(), Pods: pods(10)}, wire.ServiceState{Service: lost, Pods: withState(pods(1), "chat-0", statefulroute.Maintenance)})
	table := newTable(t, func(o *affinity.Options) { o.Capacity = 4000 })
	server, err := NewServer(ServerOptions{Directory: directory, Table: MemoryTable{Table: table}})
	if err != nil {
		t.Fatal(err)
	}
	const workers = 2
	var wg sync.WaitGroup
	for w := range workers {
		random := rand.New(rand.NewPCG(uint64(w), 1))
		services := make([]context.Context, 0, 3)
		for _, name := range []string{"chat", "lost", "made up"} {
			services = append(services, metadata.NewIncomingContext(t.Context(), metadata.Pairs(wire.ServiceMetadata, name)))
		}
		wg.Go(func() {
			for i := range requests / workers {
				ctx := services[0]
				if i%100 < 2 {
					ctx = services[1+i%100]
				}
				if err := server.Process(played(hostile(ctx, random))); err != nil && ctx != services[2] {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	values, err := directory.opts.Monitor.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	const buckets = 16 // a snapshot has a histogram's count and sum only
	series, counted := 0, 0.0
	for name, v := range values {
		series++
		if strings.Contains(name, "_seconds_count") {
			series += buckets + 1
		}
		if strings.HasPrefix(name, "stateful_route_requests_total") {
			counted += v
		}
	}
	if series > 2000 {
		t.Errorf("%d requests left %d series, want at most 2,000", requests, series)
	}
	if want := requests - requests/100; int(counted) != want {
		t.Errorf("%v requests are counted, want the %d of known services", counted, want)
	}
	t.Logf("%d requests left %d series", requests, series)
}

// Every reason for which a session is rebound is there from the start, as 0: Prometheus does
// not see the increase of a series that begins with it, and a lost pod's sessions move within
// one scrape.
func TestReasonsOfRebindsAreServedFromTheStart(t *testing.T) {
	monitor, err := metrics.NewMonitor(metrics.MonitorOptions{Process: "extproc"})
	if err != nil {
		t.Fatal(err)
	}
	monitor.Service("chat")
	answer := httptest.NewRecorder()
	monitor.Handler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, reason := range []string{lostRemoved, lostUnhealthy, lostMaintenance, lostElsewhere, rebindLearned} {
		if want := fmt.Sprintf("stateful_route_sessions_rebound_total{reason=%q,service=\"chat\"} 0", reason); !strings.Contains(answer.Body.String(), want) {
			t.Errorf("there is no %s", want)
		}
	}
}
