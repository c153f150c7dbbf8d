package load

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	loadstatsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

func loadMetric(name string, n uint64, v float64) *endpointv3.EndpointLoadMetricStats {
	return &endpointv3.EndpointLoadMetricStats{MetricName: name, NumRequestsFinishedWithMetric: n, TotalMetricValue: v}
}

// timedStats is a pod's part of a report with so many response times of so many
// seconds together.
func timedStats(p statefulroute.Pod, n uint64, seconds float64) *endpointv3.UpstreamEndpointStats {
	e := podStats(p, n, 0, 1)
	e.LoadMetricStats = []*endpointv3.EndpointLoadMetricStats{loadMetric(wire.MetricResponseTime, n, seconds)}
	return e
}

// What cannot be is not believed, none of it, and counted.
func TestAbsurdReportsAreRefused(t *testing.T) {
	a := testPod("a", 1)
	with := func(edit func(*endpointv3.UpstreamEndpointStats)) *endpointv3.UpstreamEndpointStats {
		e := timedStats(a, 10, .2)
		edit(e)
		return e
	}
	metric := func(name string, n uint64, v float64) *endpointv3.UpstreamEndpointStats {
		return with(func(e *endpointv3.UpstreamEndpointStats) {
			e.LoadMetricStats = append(e.LoadMetricStats, loadMetric(name, n, v))
		})
	}
	for name, c := range map[string]struct {
		stats  *endpointv3.UpstreamEndpointStats
		reason string
	}{
		"not a number":              {timedStats(a, 10, math.NaN()), refusedAbsurd},
		"infinite":                  {timedStats(a, 10, math.Inf(1)), refusedAbsurd},
		"negative":                  {timedStats(a, 10, -1), refusedAbsurd},
		"292 years":                 {timedStats(a, 1, 1e10), refusedAbsurd},
		"28 s at first":             {timedStats(a, 10, 280), refusedAbsurd},
		"times of nothing":          {timedStats(a, 0, 1), refusedAbsurd},
		"more than a client can":    {timedStats(a, 1e8, 1), refusedAbsurd},
		"negative in progress":      {with(func(e *endpointv3.UpstreamEndpointStats) { e.TotalRequestsInProgress = 1 << 63 }), refusedAbsurd},
		"2^64 failures":             {with(func(e *endpointv3.UpstreamEndpointStats) { e.TotalErrorRequests = math.MaxUint64 }), refusedAbsurd},
		"2^64 issued":               {with(func(e *endpointv3.UpstreamEndpointStats) { e.TotalIssuedRequests = math.MaxUint64 }), refusedAbsurd},
		"infinite sessions":         {metric(wire.MetricSessions, 1, math.Inf(1)), refusedAbsurd},
		"negative sessions":         {metric(wire.MetricSessions, 1, -5), refusedAbsurd},
		"more buckets than answers": {metric(wire.MetricResponseTimeBucket+"0.1", 11, 0), refusedAbsurd},
		"no such bucket":            {metric(wire.MetricResponseTimeBucket+"0.123", 1, 0), refusedMalformed},
		"a bucket that is none":     {metric(wire.MetricResponseTimeBucket+"NaN", 1, 0), refusedMalformed},
		"no address":                {with(func(e *endpointv3.UpstreamEndpointStats) { e.Address = &corev3.Address{} }), refusedMalformed},
		"no such pod":               {timedStats(testPod("gone", 7), 1, .1), refusedUnknownPod},
		"a pod's own metric":        {metric("named_metrics.temperature", 1, -40), ""},
		"a newer extproc's":         {metric(wire.MetricPrefix+"new", 1, 1), ""},
		"as it should be":           {metric(wire.MetricResponseTimeBucket+"+Inf", 10, 0), ""},
	} {
		t.Run(name, func(t *testing.T) {
			l, now := NewStore(), time.Unix(100, 0)
			l.Report(now, "client", clusterStats(c.stats), chatPods{a})
			refused, load := l.Refused(), l.Load("chat", "a")
			windows := l.Take().Windows
			if c.reason == "" {
				if len(refused) != 0 || len(windows) != 1 || load.ResponseTime != 20*time.Millisecond {
					t.Errorf("refused %v, %d windows, %+v", refused, len(windows), load)
				}
				return
			}
			if refused[c.reason] != 1 || len(windows) != 0 || load != (statefulroute.Load{}) {
				t.Errorf("refused %v, want one %s; windows %+v, load %+v", refused, c.reason, windows, load)
			}
		})
	}
}

// A response may take long, but no longer than the client has been there.
func TestLongResponsesOfAnAcquaintanceAreBelieved(t *testing.T) {
	a := testPod("a", 1)
	l, now, pods := NewStore(), time.Unix(100, 0), chatPods{a}
	l.Report(now, "extproc", nil, pods)
	l.Report(now.Add(30*time.Second), "extproc", clusterStats(timedStats(a, 1, 28)), pods)
	if got := l.Load("chat", "a").ResponseTime; got != 28*time.Second {
		t.Errorf("response time %v, refused %v", got, l.Refused())
	}
	l.Forget("extproc")
	l.Report(now.Add(31*time.Second), "extproc", clusterStats(timedStats(a, 1, 28)), pods)
	if l.Refused()[refusedAbsurd] != 1 {
		t.Errorf("a client that came anew: refused %v", l.Refused())
	}
}

// Clusters that do not exist leave nothing behind.
func TestUnknownClustersAreDropped(t *testing.T) {
	var stats []*endpointv3.ClusterStats
	for i := range 20_000 {
		stats = append(stats, &endpointv3.ClusterStats{ClusterName: fmt.Sprintf("nobody-%d", i), UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{{
			LoadMetricStats:       []*endpointv3.EndpointLoadMetricStats{loadMetric(wire.MetricCacheHits, 0, 5), loadMetric(wire.MetricCacheMisses, 0, 5)},
			UpstreamEndpointStats: []*endpointv3.UpstreamEndpointStats{timedStats(testPod("a", 1), 5, .1)},
		}}})
	}
	l := NewStore()
	l.Report(time.Unix(100, 0), "client", stats, chatPods{testPod("a", 1)})
	taken := l.Take()
	if len(taken.Lookups)+len(taken.Windows)+len(l.recent)+len(l.gauges["client"]) != 0 {
		t.Errorf("%d lookups, %d windows, %d pods with a past, %d gauges are kept", len(taken.Lookups), len(taken.Windows), len(l.recent), len(l.gauges["client"]))
	}
	if n := l.Refused()[refusedUnknownService]; n != 20_000 {
		t.Errorf("%d clusters counted as refused", n)
	}
}

func TestReplicasAndCachesThatCannotBeAreRefused(t *testing.T) {
	l, pods := NewStore(), chatPods{testPod("a", 1)}
	for _, v := range []float64{math.NaN(), math.Inf(1), -1, 1e300} {
		for cluster, name := range map[string]string{"chat": wire.MetricCacheHits, wire.ReplicaCluster: wire.MetricMemory} {
			l.Report(time.Unix(100, 0), "extproc", []*endpointv3.ClusterStats{{ClusterName: cluster, UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{
				{LoadMetricStats: []*endpointv3.EndpointLoadMetricStats{loadMetric(name, 0, v)}},
			}}}, pods)
		}
	}
	if taken := l.Take(); len(taken.Lookups)+len(taken.Replicas) != 0 || l.Refused()[refusedAbsurd] != 8 {
		t.Errorf("lookups %v, replicas %v, refused %v", taken.Lookups, taken.Replicas, l.Refused())
	}
}

// Clients that see different things honestly are not cut to one opinion.
func TestHonestDifferencesAreKept(t *testing.T) {
	a := testPod("a", 1)
	l, pods := NewStore(), chatPods{a}
	for client, n := range []uint64{10, 20, 30} { // 20, 30 and 40 ms
		l.Report(time.Unix(100, 0), fmt.Sprint(client), clusterStats(timedStats(a, n, float64(n)*(.02+.01*float64(client)))), pods)
	}
	w := l.Take().Windows[0]
	if mean := w.ResponseTime / time.Duration(w.Responses); mean.Round(time.Millisecond) != 33*time.Millisecond || w.Issued != 60 || w.InFlight != 3 {
		t.Errorf("mean %v, %+v", mean, w)
	}
}

// A client that reports more often than it was asked to loses what is too much, and
// its stream when it does not stop.
func TestClientsThatReportTooOftenAreRefused(t *testing.T) {
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
	report := &loadstatsv3.LoadStatsRequest{Node: &corev3.Node{Id: strings.Repeat("x", 100_000)}, ClusterStats: clusterStats(podStats(a, 1, 0, 0))}
	const sent = 500
	for range sent {
		if stream.Send(report) != nil {
			break // the stream has ended
		}
	}
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("the stream ended with %v", err)
	}
	if n := loads.Refused()[refusedTooOften]; n <= mostRefused || n >= sent { // the fewer the slower they come
		t.Errorf("%d reports refused", n)
	}
	if w := loads.Take().Windows; len(w) != 1 || w[0].Issued < reportsAtOnce-1 || w[0].Issued > 20 {
		t.Errorf("windows %+v", w)
	}
}

// Whatever clients report, nothing panics, every figure is finite and in its bounds,
// and nothing is kept of what does not exist.
func FuzzLoadReports(f *testing.F) {
	a, b := testPod("a", 1), testPod("b", 2)
	seed := func(stats ...*endpointv3.UpstreamEndpointStats) {
		raw, err := proto.Marshal(&loadstatsv3.LoadStatsRequest{ClusterStats: clusterStats(stats...)})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, raw)
	}
	seed(timedStats(a, 10, .2), podStats(b, 1, 2, 3))
	seed(timedStats(a, 1, math.Inf(1)), timedStats(b, 1e7, 1e9))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		l, now, pods := NewStore(), time.Unix(100, 0), chatPods{a, b}
		for i, raw := range [][]byte{first, second, first, second} {
			var m loadstatsv3.LoadStatsRequest
			if proto.Unmarshal(raw, &m) != nil {
				return
			}
			now = now.Add(time.Duration(i) * time.Second)
			l.Report(now, fmt.Sprint(i), m.GetClusterStats(), pods)
		}
		if n := len(l.windows) + len(l.recent) + len(l.lookups); n > 5 || len(l.gauges) > 4 {
			t.Fatalf("%d entries of two pods are kept", n)
		}
		for _, pod := range []string{"a", "b"} {
			load := l.Load("chat", pod)
			if !within(load.ErrorRate, 1) || load.ResponseTime < 0 || load.ResponseTime > longestResponse || load.InFlight < 0 || load.Sessions < 0 {
				t.Fatalf("%s: %+v", pod, load)
			}
		}
		taken := l.Take()
		for _, w := range taken.Windows {
			o := w.Observation(time.Second)
			if w.ResponseTime < 0 || o.ResponseTime < 0 || o.ResponseTime > longestResponse || w.InFlight < 0 || w.Sessions < 0 || w.Failed > 1e12 || w.Succeeded > 1e12 {
				t.Fatalf("%+v", w)
			}
		}
		for _, r := range taken.Replicas {
			if !within(r.CPU, mostUsage) || r.Size < 0 || r.Capacity < 0 {
				t.Fatalf("%+v", r)
			}
		}
	})
}
