package load

import (
	"strings"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/stateful-route/stateful-route/wire"
)

// Why a part of a load report is refused: the reason label of
// stateful_route_load_reports_refused_total.
const (
	refusedMalformed      = "malformed"       // no address, no such metric
	refusedUnknownService = "unknown_service" // or one that is gone
	refusedUnknownPod     = "unknown_pod"
	refusedAbsurd         = "absurd"    // negative, not finite, or more than can be
	refusedTooOften       = "too_often" // a whole report
)

const (
	// mostRequests is more than one client can send, have open or find out about
	// between two reports, and mostSessions more than it can hold of one pod.
	mostRequests = 10_000_000
	mostSessions = 1_000_000_000
	// longestResponse is the largest mean response time that is believed, and
	// acquainted what is believed of a client that has only just come: a response
	// cannot have taken longer than the client exists.
	longestResponse = time.Hour
	acquainted      = 10 * time.Second
	// mostSeconds is what a sum of response times is cut to: a Duration ends at 292
	// years.
	mostSeconds = 1 << 32
	// mostUsage bounds what a process says of itself.
	mostUsage = 1 << 60
)

// podReport is what a client reported of one pod, checked.
type podReport struct {
	issued, succeeded, failed uint64
	gauge                     gauge
	responses                 uint64
	seconds                   float64 // the sum of their times
	buckets                   []bucketCount
}

type bucketCount struct {
	bucket int
	n      uint64
}

// checkPod reads what a client that has been here for so long reports of a pod. A
// reason means that none of it is believed.
func checkPod(e *endpointv3.UpstreamEndpointStats, here time.Duration) (r podReport, reason string) {
	r = podReport{
		issued: e.GetTotalIssuedRequests(), succeeded: e.GetTotalSuccessfulRequests(), failed: e.GetTotalErrorRequests(),
		gauge: gauge{inFlight: int64(min(e.GetTotalRequestsInProgress(), mostRequests+1))},
	}
	if max(r.issued, r.succeeded, r.failed, uint64(r.gauge.inFlight)) > mostRequests {
		return r, refusedAbsurd
	}
	for _, m := range e.GetLoadMetricStats() {
		if reason := r.addMetric(m); reason != "" {
			return r, reason
		}
	}
	counted := uint64(0)
	for _, b := range r.buckets {
		counted += b.n // at most mostRequests each
	}
	longest := min(here+acquainted, longestResponse).Seconds()
	if r.responses > mostRequests || counted > r.responses || r.seconds > longest*float64(r.responses) {
		return r, refusedAbsurd
	}
	return r, ""
}

func (r *podReport) addMetric(m *endpointv3.EndpointLoadMetricStats) (reason string) {
	name := m.GetMetricName()
	if !strings.HasPrefix(name, wire.MetricPrefix) {
		return "" // one that an Envoy has from its pods
	}
	n, v := m.GetNumRequestsFinishedWithMetric(), m.GetTotalMetricValue()
	if n > mostRequests || !within(v, mostUsage) {
		return refusedAbsurd
	}
	switch name {
	case wire.MetricResponseTime:
		r.responses += n
		r.seconds += v
	case wire.MetricSessions:
		if v > mostSessions {
			return refusedAbsurd
		}
		r.gauge.sessions = int64(v)
	default:
		if !strings.HasPrefix(name, wire.MetricResponseTimeBucket) {
			return "" // one that is newer than this program
		}
		i, ok := wire.ParseResponseTimeBucket(name)
		if !ok {
			return refusedMalformed
		}
		r.buckets = append(r.buckets, bucketCount{i, n})
	}
	return ""
}

// within reports whether a value is finite, not negative and not above the limit.
func within(v, limit float64) bool { return v >= 0 && v <= limit }

// checkedValues are the load metrics of a cluster's localities by name; ok is false
// when one of them cannot be.
func checkedValues(cluster *endpointv3.ClusterStats) (out map[string]float64, ok bool) {
	out = map[string]float64{}
	for _, locality := range cluster.GetUpstreamLocalityStats() {
		for _, m := range locality.GetLoadMetricStats() {
			if !strings.HasPrefix(m.GetMetricName(), wire.MetricPrefix) {
				continue // there may be any number of them
			}
			v := out[m.GetMetricName()] + m.GetTotalMetricValue()
			if !within(m.GetTotalMetricValue(), mostUsage) || !within(v, mostUsage) {
				return nil, false
			}
			out[m.GetMetricName()] = v
		}
	}
	return out, true
}
