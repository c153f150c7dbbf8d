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
	// longestSum is what a sum of response times is cut to: two of them are no longer
	// than a Duration can be, 292 years.
	longestSum = time.Second << 32
	// mostUsage bounds what a process says of itself.
	mostUsage = 1 << 60
)

// checkPod reads what a client that has been here for so long reports of a pod. A
// reason means that none of it is believed.
func checkPod(e *endpointv3.UpstreamEndpointStats, here time.Duration) (c Counts, reason string) {
	c = Counts{Issued: e.GetTotalIssuedRequests(), Succeeded: e.GetTotalSuccessfulRequests(), Failed: e.GetTotalErrorRequests()}
	inFlight := e.GetTotalRequestsInProgress()
	if max(c.Issued, c.Succeeded, c.Failed, inFlight) > mostRequests {
		return c, refusedAbsurd
	}
	c.InFlight = int64(inFlight)
	var seconds float64
	for _, m := range e.GetLoadMetricStats() {
		if reason := c.addMetric(m, &seconds); reason != "" {
			return c, reason
		}
	}
	counted := uint64(0)
	for _, n := range c.Buckets {
		counted += n // at most mostRequests of each metric
	}
	longest := min(here+acquainted, longestResponse).Seconds()
	if c.Responses > mostRequests || counted > c.Responses || seconds > longest*float64(c.Responses) {
		return c, refusedAbsurd
	}
	c.ResponseTime = time.Duration(min(seconds, longestSum.Seconds()) * float64(time.Second))
	return c, ""
}

// addMetric adds a metric of ours; the sum of response times is counted apart, for it
// may be too long for a Duration until it is checked.
func (c *Counts) addMetric(m *endpointv3.EndpointLoadMetricStats, seconds *float64) (reason string) {
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
		c.Responses += n
		*seconds += v
	case wire.MetricSessions:
		if v > mostSessions {
			return refusedAbsurd
		}
		c.Sessions = int64(v)
	default:
		if !strings.HasPrefix(name, wire.MetricResponseTimeBucket) {
			return "" // one that is newer than this program
		}
		i, ok := wire.ParseResponseTimeBucket(name)
		if !ok {
			return refusedMalformed
		}
		if c.Buckets == nil {
			c.Buckets = make([]uint64, len(wire.ResponseTimeBounds())+1)
		}
		c.Buckets[i] += n
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
