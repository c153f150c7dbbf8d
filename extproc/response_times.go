package extproc

import (
	"sort"
	"sync/atomic"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/stateful-route/stateful-route/wire"
)

// responseTimes is a histogram of one pod's response times since the last
// report: from the callout to the response headers, of answers below 500. A pod
// that fails fast must not look fast; Envoy counts its failures.
type responseTimes struct {
	nanos   atomic.Int64
	buckets []atomic.Uint64 // by responseBounds, the last for slower ones
}

// responseBounds are wire.ResponseTimeBounds as durations, and responseMetrics
// the metrics that its buckets and the one beyond are reported under.
var responseBounds, responseMetrics = func() (bounds []time.Duration, metrics []string) {
	for i, seconds := range wire.ResponseTimeBounds() {
		bounds = append(bounds, time.Duration(seconds*float64(time.Second)))
		metrics = append(metrics, wire.ResponseTimeBucket(i))
	}
	return bounds, append(metrics, wire.ResponseTimeBucket(len(bounds)))
}()

func newResponseTimes() *responseTimes {
	return &responseTimes{buckets: make([]atomic.Uint64, len(responseMetrics))}
}

func (r *responseTimes) observe(d time.Duration) {
	r.nanos.Add(int64(d))
	r.count(d, 1)
}

func (r *responseTimes) count(d time.Duration, n uint64) {
	r.buckets[sort.Search(len(responseBounds), func(i int) bool { return d <= responseBounds[i] })].Add(n)
}

// take returns what was observed since the last take as load metrics; nothing
// when there was nothing.
func (r *responseTimes) take() []*endpointv3.EndpointLoadMetricStats {
	var out []*endpointv3.EndpointLoadMetricStats
	total := uint64(0)
	for i := range r.buckets {
		n := r.buckets[i].Swap(0)
		if n == 0 {
			continue
		}
		total += n
		out = append(out, &endpointv3.EndpointLoadMetricStats{MetricName: responseMetrics[i], NumRequestsFinishedWithMetric: n})
	}
	if total == 0 {
		return nil
	}
	return append(out, &endpointv3.EndpointLoadMetricStats{
		MetricName:                    wire.MetricResponseTime,
		NumRequestsFinishedWithMetric: total,
		TotalMetricValue:              time.Duration(r.nanos.Swap(0)).Seconds(),
	})
}
