package extproc

import (
	"context"
	"errors"
	"maps"
	"net"
	"testing"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	loadstatsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/durationpb"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/extproc/xdsclient"
	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/wire"
)

// lrsServer hands what it is told to a test.
type lrsServer struct {
	loadstatsv3.UnimplementedLoadReportingServiceServer
	reports chan *loadstatsv3.LoadStatsRequest
}

func (s *lrsServer) StreamLoadStats(stream loadstatsv3.LoadReportingService_StreamLoadStatsServer) error {
	order := &loadstatsv3.LoadStatsResponse{LoadReportingInterval: durationpb.New(100 * time.Millisecond)}
	if err := stream.Send(order); err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		select {
		case s.reports <- m:
		case <-stream.Context().Done():
			return nil
		}
	}
}

func startLRS(t *testing.T, address string) (*lrsServer, *grpc.Server, string) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s, g := &lrsServer{reports: make(chan *loadstatsv3.LoadStatsRequest)}, grpc.NewServer()
	loadstatsv3.RegisterLoadReportingServiceServer(g, s)
	go g.Serve(l)
	t.Cleanup(g.Stop)
	return s, g, l.Addr().String()
}

func startReporter(t *testing.T, address string, d *Directory, sessions SessionCounter, usage func(time.Time) analysis.ReplicaSample) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	r, err := xdsclient.NewLoadReporter(xdsclient.LoadReporterOptions{
		Conn: conn, NodeID: "extproc/test", Usage: usage,
		Report:     func(since time.Duration) []*endpointv3.ClusterStats { return d.LoadReport(sessions, since) },
		MinBackoff: time.Millisecond, MaxBackoff: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
		conn.Close()
	})
}

func (s *lrsServer) next(t *testing.T) *loadstatsv3.LoadStatsRequest {
	t.Helper()
	select {
	case m := <-s.reports:
		return m
	case <-time.After(10 * time.Second):
		t.Fatal("no report came")
		return nil
	}
}

// podMetrics returns what a report says of the pod at a port, as sum and count.
func podMetrics(m *loadstatsv3.LoadStatsRequest, port uint32) map[string]*endpointv3.EndpointLoadMetricStats {
	out := map[string]*endpointv3.EndpointLoadMetricStats{}
	for _, c := range m.GetClusterStats() {
		for _, e := range c.GetUpstreamLocalityStats()[0].GetUpstreamEndpointStats() {
			if c.GetClusterName() == "chat" && e.GetAddress().GetSocketAddress().GetPortValue() == port {
				for _, s := range e.GetLoadMetricStats() {
					out[s.GetMetricName()] = s
				}
			}
		}
	}
	return out
}

func TestLoadReport(t *testing.T) {
	d, table := newDirectory(t, stateOf(chat(), pods(2))), newTable(t)
	table.Move("chat", "a", "chat-1", time.Now())
	for _, took := range []time.Duration{50 * time.Millisecond, 51 * time.Millisecond, 3 * time.Minute} {
		d.service("chat").pods["chat-0"].times.observe(took)
	}
	lrs, server, address := startLRS(t, "127.0.0.1:0")
	startReporter(t, address, d, table, nil)
	if n := lrs.next(t).GetNode(); n.GetId() != "extproc/test" || n.GetUserAgentName() != wire.UserAgent {
		t.Errorf("introduced itself as %v", n)
	}
	report := lrs.next(t)
	slow := podMetrics(report, 9100)
	total := slow[wire.MetricResponseTime]
	if total.GetNumRequestsFinishedWithMetric() != 3 || total.GetTotalMetricValue() != 180.101 {
		t.Errorf("response times: %v", total)
	}
	for bound, want := range map[string]uint64{"0.05": 1, "0.1": 1, "+Inf": 1, "0.02": 0} {
		if n := slow[wire.MetricResponseTimeBucket+bound].GetNumRequestsFinishedWithMetric(); n != want {
			t.Errorf("%d responses at most %s s, want %d", n, bound, want)
		}
	}
	if n := podMetrics(report, 9101)[wire.MetricSessions].GetTotalMetricValue(); n != 1 {
		t.Errorf("%v sessions on chat-1, want 1", n)
	}
	if again := podMetrics(lrs.next(t), 9100); again[wire.MetricResponseTime] != nil || again[wire.MetricSessions] == nil {
		t.Errorf("the next report repeats itself or forgets sessions: %v", again)
	}
	server.Stop()
	lrs, _, _ = startLRS(t, address)
	lrs.next(t)
	if m := podMetrics(lrs.next(t), 9101); m[wire.MetricSessions].GetTotalMetricValue() != 1 {
		t.Errorf("after the server came back: %v", m)
	}
}

// serviceMetrics returns what a report says of a cluster beside its pods.
func serviceMetrics(m *loadstatsv3.LoadStatsRequest, cluster string) map[string]float64 {
	out := map[string]float64{}
	for _, c := range m.GetClusterStats() {
		if c.GetClusterName() == cluster {
			for _, s := range c.GetUpstreamLocalityStats()[0].GetLoadMetricStats() {
				out[s.GetMetricName()] = s.GetTotalMetricValue()
			}
		}
	}
	return out
}

func TestLookupsAndOwnUsageAreReported(t *testing.T) {
	p := startProcessor(t, stateOf(chat(), pods(1)))
	for _, key := range []string{"a", "a", "b", "a", ""} {
		c, _ := p.request("x-session-id", key)
		c.finish()
	}
	// A change of the pods must not lose what was counted before it.
	p.directory.Set([]wire.ServiceState{stateOf(chat(), pods(2))}, true)
	evictions := uint64(5)
	usage := func(time.Time) analysis.ReplicaSample {
		evictions += 2
		return analysis.ReplicaSample{
			ProcessSample: analysis.ProcessSample{Memory: 10, MemoryLimit: 20, CPU: .5, CPULimit: 2},
			Size:          3, Capacity: 4, Evictions: evictions, Unwritten: true,
			Store: analysis.StoreSample{State: "recovering", Lease: 1500 * time.Millisecond, Conflicts: 6},
		}
	}
	lrs, _, address := startLRS(t, "127.0.0.1:0")
	startReporter(t, address, p.directory, newTable(t), usage)
	lrs.next(t)
	first, second := lrs.next(t), lrs.next(t)
	want := map[string]float64{wire.MetricCacheHits: 2, wire.MetricCacheMisses: 2}
	if got := serviceMetrics(first, "chat"); !maps.Equal(got, want) {
		t.Errorf("look-ups %v, want %v", got, want)
	}
	if got := serviceMetrics(second, "chat"); len(got) != 0 {
		t.Errorf("the next report repeats the look-ups: %v", got)
	}
	want = map[string]float64{
		wire.MetricMemory: 10, wire.MetricMemoryLimit: 20, wire.MetricCPU: .5, wire.MetricCPULimit: 2,
		wire.MetricTableSize: 3, wire.MetricTableCapacity: 4, wire.MetricEvictions: 7, wire.MetricUnwritten: 1,
		wire.MetricStoreState: 2, wire.MetricStoreLease: 1.5, wire.MetricStoreConflicts: 6,
	}
	if got := serviceMetrics(first, wire.ReplicaCluster); !maps.Equal(got, want) {
		t.Errorf("usage %v, want %v", got, want)
	}
	if n := serviceMetrics(second, wire.ReplicaCluster)[wire.MetricEvictions]; n != 2 {
		t.Errorf("%v evictions since the first report, want 2", n)
	}
}

func TestResponsesAreTimed(t *testing.T) {
	p := startProcessor(t, stateOf(chat(), pods(1)))
	for key, code := range map[string]string{"a": "200", "b": "503", "c": "404"} {
		c, _ := p.request("x-session-id", key)
		c.response("127.0.0.1:9100", ":status", code)
		c.finish()
	}
	taken := p.directory.service("chat").pods["chat-0"].times.take()
	if n := taken[len(taken)-1].GetNumRequestsFinishedWithMetric(); n != 2 {
		t.Errorf("%d responses timed, want 2: a failure is not", n)
	}
	s := p.directory.service("chat").balancer.Stats()
	if s.Successful != 2 || s.Failed != 1 {
		t.Errorf("the balancer saw %d successes and %d failures, want 2 and 1", s.Successful, s.Failed)
	}
}

// One pod of a busy service that is asked now and then would be among few of the
// unbound requests that are looked at.
func TestAPodThatIsHardlySeenIsLookedForAmongAll(t *testing.T) {
	draining := pods(3)
	draining[2].State = statefulroute.Draining // is sent no unbound request
	d := newDirectory(t, stateOf(chat(), draining))
	svc := d.service("chat")
	for _, c := range []struct {
		seen int
		want bool
	}{{1, true}, {2, true}, {3, false}, {40, false}, {0, true}} {
		for name, n := range map[string]int{"chat-0": 40, "chat-1": c.seen} {
			for range n {
				svc.pods[name].times.observe(time.Millisecond)
			}
		}
		d.LoadReport(newTable(t), time.Second)
		if got := svc.unbound.fine.Load(); got != c.want {
			t.Errorf("%d responses of chat-1 seen: looks at more is %v, want %v", c.seen, got, c.want)
		}
	}
}
