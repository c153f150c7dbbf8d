package load

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	loadstatsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/wire"
)

// podStats is one pod's part of a report: requests as an Envoy counts them.
func podStats(p statefulroute.Pod, ok, failed, inFlight uint64) *endpointv3.UpstreamEndpointStats {
	return &endpointv3.UpstreamEndpointStats{
		Address: addrPort(p.Address), TotalIssuedRequests: ok + failed, TotalSuccessfulRequests: ok,
		TotalErrorRequests: failed, TotalRequestsInProgress: inFlight,
	}
}

func clusterStats(pods ...*endpointv3.UpstreamEndpointStats) []*endpointv3.ClusterStats {
	return []*endpointv3.ClusterStats{{ClusterName: "chat", UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{{UpstreamEndpointStats: pods}}}}
}

func TestReportsOfAllClientsAddUp(t *testing.T) {
	a, b := testPod("a", 1), testPod("b", 2)
	pods := chatPods{a, b}
	l, now := NewStore(), time.Unix(100, 0)
	l.Report(now, "envoy-1", clusterStats(podStats(a, 8, 2, 3), podStats(b, 1, 0, 0)), pods)
	l.Report(now, "envoy-2", clusterStats(podStats(a, 10, 0, 4)), pods)
	timed := podStats(a, 0, 0, 0)
	timed.LoadMetricStats = []*endpointv3.EndpointLoadMetricStats{
		{MetricName: wire.MetricResponseTime, NumRequestsFinishedWithMetric: 4, TotalMetricValue: 2},
		{MetricName: wire.MetricResponseTimeBucket + "0.5", NumRequestsFinishedWithMetric: 3},
		{MetricName: wire.MetricResponseTimeBucket + "1", NumRequestsFinishedWithMetric: 1},
		{MetricName: wire.MetricSessions, NumRequestsFinishedWithMetric: 1, TotalMetricValue: 17},
	}
	l.Report(now, "extproc", clusterStats(timed), pods)

	load := l.Load("chat", "a")
	if load.InFlight != 7 || load.Sessions != 17 || load.ErrorRate != .1 || load.ResponseTime != 500*time.Millisecond || !load.LastResponse.Equal(now) {
		t.Errorf("load of a: %+v", load)
	}
	windows := l.Take().Windows
	slices.SortFunc(windows, func(x, y Window) int { return cmp.Compare(x.Pod, y.Pod) })
	if len(windows) != 2 {
		t.Fatalf("windows: %+v", windows)
	}
	w := windows[0]
	if w.Issued != 20 || w.Succeeded != 18 || w.Failed != 2 || w.InFlight != 7 || w.Responses != 4 || w.ResponseTime != 2*time.Second || w.Sessions != 17 {
		t.Errorf("window of a: %+v", w)
	}
	if bounds := wire.ResponseTimeBounds(); w.Buckets[slices.Index(bounds, .5)] != 3 || w.Buckets[slices.Index(bounds, 1)] != 1 {
		t.Errorf("buckets: %v", w.Buckets)
	}
	// Counts start anew with each window; what is in flight stays until said otherwise.
	for _, w := range l.Take().Windows {
		if w.Issued != 0 || (w.Pod == "a" && w.InFlight != 7) {
			t.Errorf("second window: %+v", w)
		}
	}
	l.Forget("envoy-2")
	if got := l.Load("chat", "a").InFlight; got != 3 {
		t.Errorf("in flight after an Envoy left: %d", got)
	}
	l.Report(now, "envoy-1", clusterStats(podStats(b, 0, 0, 1)), pods)
	if got := l.Load("chat", "a").InFlight; got != 0 {
		t.Errorf("in flight on a pod no longer reported: %d", got)
	}
}

func TestReportsOfUnknownPodsAreDropped(t *testing.T) {
	pods := chatPods{testPod("a", 1)}
	l := NewStore()
	odd := &endpointv3.UpstreamEndpointStats{Address: &corev3.Address{}}
	l.Report(time.Unix(1, 0), "envoy", clusterStats(podStats(testPod("gone", 7), 5, 5, 5), odd), pods)
	if got := l.Take().Windows; len(got) != 0 {
		t.Errorf("booked %+v", got)
	}
}

func TestOldErrorsFade(t *testing.T) {
	a := testPod("a", 1)
	pods := chatPods{a}
	l, now := NewStore(), time.Unix(100, 0)
	l.Report(now, "envoy", clusterStats(podStats(a, 0, 100, 0)), pods)
	l.Report(now.Add(time.Minute), "envoy", clusterStats(podStats(a, 100, 0, 0)), pods)
	if got := l.Load("chat", "a").ErrorRate; got > .001 {
		t.Errorf("a minute of health later the error rate is %v", got)
	}
	l.Keep(func(string, string) bool { return false })
	if got := l.Load("chat", "a"); got != (statefulroute.Load{}) {
		t.Errorf("a pod that is gone still has %+v", got)
	}
}

// serveLoads serves LRS until the test ends.
func serveLoads(t *testing.T, service *Server) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	service.RegisterOn(server)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return listener.Addr().String()
}

func TestLoadServiceAsksForEveryPodEachSecond(t *testing.T) {
	a := testPod("a", 1)
	loads := NewStore()
	address := serveLoads(t, &Server{Loads: loads, Pods: func() Pods { return chatPods{a} }})
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := loadstatsv3.NewLoadReportingServiceClient(conn).StreamLoadStats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&loadstatsv3.LoadStatsRequest{Node: &corev3.Node{Id: "envoy"}}); err != nil {
		t.Fatal(err)
	}
	asked, err := stream.Recv()
	if err != nil || !asked.GetSendAllClusters() || !asked.GetReportEndpointGranularity() || asked.GetLoadReportingInterval().AsDuration() != time.Second {
		t.Fatalf("asked for %v, %v", asked, err)
	}
	if err := stream.Send(&loadstatsv3.LoadStatsRequest{ClusterStats: clusterStats(podStats(a, 1, 0, 2))}); err != nil {
		t.Fatal(err)
	}
	await(t, "the report", func() bool { return loads.Load("chat", "a").InFlight == 2 })
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	await(t, "the client's end", func() bool { return loads.Load("chat", "a").InFlight == 0 })
}

// await polls until ok, for up to ten seconds.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestExtprocsReportOnThemselvesAndTheirCaches(t *testing.T) {
	l, now := NewStore(), time.Unix(1, 0)
	report := func(values map[string]float64) *endpointv3.UpstreamLocalityStats {
		out := &endpointv3.UpstreamLocalityStats{}
		for name, v := range values {
			out.LoadMetricStats = append(out.LoadMetricStats, &endpointv3.EndpointLoadMetricStats{MetricName: name, TotalMetricValue: v})
		}
		return out
	}
	stats := []*endpointv3.ClusterStats{
		{ClusterName: "chat", UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{
			report(map[string]float64{wire.MetricCacheHits: 7, wire.MetricCacheMisses: 3})}},
		{ClusterName: wire.ReplicaCluster, UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{
			report(map[string]float64{wire.MetricMemory: 100, wire.MetricMemoryLimit: 200, wire.MetricCPU: .5,
				wire.MetricTableSize: 9, wire.MetricTableCapacity: 10, wire.MetricEvictions: 4})}},
	}
	for range 2 {
		l.Report(now, "extproc#1", stats, chatPods{testPod("a", 1)})
	}
	got := l.Take()
	if got.Lookups["chat"] != (Lookups{14, 6}) {
		t.Errorf("lookups: %+v", got.Lookups)
	}
	want := analysis.ReplicaSample{ProcessSample: analysis.ProcessSample{Memory: 100, MemoryLimit: 200, CPU: .5}, Size: 9, Capacity: 10, Evictions: 8}
	if got.Replicas["extproc#1"] != want {
		t.Errorf("replicas: %+v", got.Replicas)
	}
	if again := l.Take(); again.Replicas["extproc#1"].Evictions != 0 || again.Replicas["extproc#1"].Size != 9 || len(again.Lookups) != 0 {
		t.Errorf("second take: %+v", again)
	}
	l.Forget("extproc#1")
	if got := l.Take().Replicas; len(got) != 0 {
		t.Errorf("a replica that left: %+v", got)
	}
}

// What the analyzer and the charts are given.
func TestSamplesOfWhatWasTaken(t *testing.T) {
	a := testPod("a", 1)
	l, pods := NewStore(), chatPods{a}
	l.Report(time.Unix(1, 0), "envoy", clusterStats(podStats(a, 8, 2, 3)), pods)
	times := podStats(a, 0, 0, 0)
	times.LoadMetricStats = []*endpointv3.EndpointLoadMetricStats{
		loadMetric(wire.MetricResponseTime, 4, .4), loadMetric(wire.MetricResponseTimeBucket+"0.1", 4, 0), loadMetric(wire.MetricSessions, 1, 5),
	}
	stats := clusterStats(times)
	stats[0].UpstreamLocalityStats[0].LoadMetricStats = []*endpointv3.EndpointLoadMetricStats{loadMetric(wire.MetricCacheHits, 1, 7)}
	l.Report(time.Unix(1, 0), "extproc", stats, pods)
	taken := l.Take()
	got := taken.Samples()
	pod := got["chat"].Pods["a"]
	if len(got) != 1 || got["chat"].Hits != 7 || pod.Requests != 10 || pod.Errors != 2 || pod.InFlight != 3 || pod.Sessions != 5 {
		t.Errorf("samples %+v", got)
	}
	if mean := pod.ResponseTimes.Mean(); pod.ResponseTimes.Count() != 4 || mean < .0999 || mean > .1001 {
		t.Errorf("%d response times with a mean of %v s", pod.ResponseTimes.Count(), mean)
	}
}

func TestReplicasThatCannotWriteAreNamed(t *testing.T) {
	l, pods := NewStore(), chatPods{}
	report := func(unwritten float64) {
		l.Report(time.Unix(1, 0), "extproc#1", []*endpointv3.ClusterStats{{ClusterName: wire.ReplicaCluster, UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{
			{LoadMetricStats: []*endpointv3.EndpointLoadMetricStats{loadMetric(wire.MetricUnwritten, 1, unwritten)}},
		}}}, pods)
	}
	report(1)
	if got := l.Unwritten(); len(got) != 1 || !strings.HasPrefix(got[0], "extproc#1: bindings cannot be written") {
		t.Errorf("%q", got)
	}
	report(0)
	if got := l.Unwritten(); len(got) != 0 {
		t.Errorf("%q once it can write", got)
	}
}

// What extprocs say of the store that they share is kept, and a state that is not known is none.
func TestReplicasSayHowTheirStoreLooks(t *testing.T) {
	l, pods := NewStore(), chatPods{}
	report := func(client string, state float64) {
		l.Report(time.Unix(1, 0), client, []*endpointv3.ClusterStats{{ClusterName: wire.ReplicaCluster, UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{
			{LoadMetricStats: []*endpointv3.EndpointLoadMetricStats{
				loadMetric(wire.MetricTableSize, 1, 3), loadMetric(wire.MetricStoreState, 1, state),
				loadMetric(wire.MetricStoreLease, 1, 1e18), loadMetric(wire.MetricStoreConflicts, 1, 2),
			}},
		}}}, pods)
	}
	report("extproc/b#1", 1)
	report("extproc/a#2", 3)
	report("extproc/c#3", 0)
	report("extproc/d#4", 17)
	var got []string
	for _, r := range l.Replicas() {
		got = append(got, fmt.Sprint(r.Node, " ", r.Size, " ", r.Store.State, " ", r.Store.Conflicts))
		if r.Store.Lease < 0 || (r.Store.Lease > 0) != (r.Store.State != "") {
			t.Errorf("%s has a lease of %s", r.Node, r.Store.Lease)
		}
	}
	if want := []string{"extproc/a 3 unreachable 2", "extproc/b 3 open 2", "extproc/c 3  0", "extproc/d 3  0"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	l.Forget("extproc/a#2")
	if n := len(l.Replicas()); n != 3 {
		t.Errorf("%d are left", n)
	}
}
