package extproc

import (
	"math"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/fastpath"
	"github.com/stateful-route/stateful-route/wire"
)

// Requests that Envoys counted are in the metrics, in the load report and known to the
// balancer as others are.
func TestServed(t *testing.T) {
	d := newDirectory(t, stateOf(chat(), pods(2)))
	u := &fastpath.PodUse{InFlight: 3, Aborted: 1, Misroutes: 1, DurationSum: 8 * 20 * time.Millisecond, ResponseSum: 6 * 20 * time.Millisecond, Responded: 6}
	u.Requests[0][2], u.Requests[2][5], u.Requests[0][0] = 6, 1, 1 // GET 2xx, POST 5xx, GET without a response
	bucket := fastpath.BucketOf(20 * time.Millisecond)
	u.Durations[bucket], u.Responses[bucket] = 8, 6
	if hits := d.Served(t0, "chat", "chat-1", u); hits != 8 {
		t.Errorf("%d hits, want 8", hits)
	}
	unbound := &fastpath.PodUse{}
	unbound.Requests[0][2] = 4
	if hits := d.Served(t0, "chat", "", unbound); hits != 0 {
		t.Errorf("%d hits of requests without a session", hits)
	}
	answered := &fastpath.PodUse{InFlight: 3, UnboundResponseSum: 5 * 40 * time.Millisecond, Aborted: 1}
	answered.Unbound[0][2], answered.Unbound[0][5] = 5, 1
	slower := fastpath.BucketOf(40 * time.Millisecond)
	answered.Durations[slower], answered.Responses[slower] = 6, 5
	if hits := d.Served(t0, "chat", "chat-1", answered); hits != 0 {
		t.Errorf("%d hits of requests without a session that chat-1 answered", hits)
	}
	d.Served(t0, "gone", "chat-1", u)
	for name, want := range map[string]float64{
		`stateful_route_requests_total{code="2xx",method="GET",pod="chat-1",service="chat"}`:  11,
		`stateful_route_requests_total{code="2xx",method="GET",pod="",service="chat"}`:        4,
		`stateful_route_request_errors_total{kind="upstream",pod="chat-1",service="chat"}`:    2,
		`stateful_route_request_errors_total{kind="aborted",pod="chat-1",service="chat"}`:     2,
		`stateful_route_request_duration_seconds_count{pod="chat-1",service="chat"}`:          14,
		`stateful_route_cache_hits_total{service="chat"}`:                                     8,
		`stateful_route_misroutes_total{pod="chat-1",service="chat"}`:                         1,
		`stateful_route_requests_total{code="none",method="GET",pod="chat-1",service="chat"}`: 1,
		`stateful_route_requests_total{code="5xx",method="GET",pod="chat-1",service="chat"}`:  1,
		`stateful_route_requests_total{code="5xx",method="POST",pod="chat-1",service="chat"}`: 1,
	} {
		if got := metric(t, d, name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if l := d.service("chat").balancer.Loads()["chat-1"]; l.InFlight != 3 || l.ResponseTime != 20*time.Millisecond || l.ErrorRate == 0 {
		t.Errorf("the balancer knows %+v", l)
	}
	if s := d.BalancerStats()["chat"]; s.TotalRequests != 8 || s.Successful != 6 || s.Failed != 1 {
		t.Errorf("the balancer counts %+v", s)
	}
	checkReported(t, d)
}

func checkReported(t *testing.T, d *Directory) {
	t.Helper()
	locality := d.LoadReport(newTable(t), time.Second)[0].GetUpstreamLocalityStats()[0]
	if m := locality.GetLoadMetricStats(); len(m) == 0 || m[0].GetTotalMetricValue() != 8 {
		t.Errorf("look-ups reported: %v", m)
	}
	for _, e := range locality.GetUpstreamEndpointStats() {
		for _, m := range e.GetLoadMetricStats() {
			if m.GetMetricName() == wire.MetricResponseTime {
				if m.GetNumRequestsFinishedWithMetric() != 11 || math.Abs(m.GetTotalMetricValue()-0.32) > 1e-9 {
					t.Errorf("response times reported: %v", m)
				}
				return
			}
		}
	}
	t.Error("no response times reported")
}

// A time is told to within a sixteenth, whatever it is.
func TestMiddle(t *testing.T) {
	for took := 10 * time.Microsecond; took < time.Hour; took += took / 3 {
		if got := middle(fastpath.BucketOf(took)); math.Abs(float64(got-took)) > float64(took)/8 {
			t.Errorf("%s is told as %s", took, got)
		}
	}
}
