package wire

import (
	"math"
	"slices"
	"strconv"
	"strings"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
)

// Names of the load metrics that extproc reports over LRS, beside what Envoys
// count themselves. A metric's value is its total_metric_value; those marked
// "since" count from the report before.

// MetricPrefix begins the names of all of them.
const MetricPrefix = "stateful-route."

// Per pod, in an endpoint's load_metric_stats.
const (
	// MetricResponseTime sums response times in seconds since; its
	// num_requests_finished_with_metric is the number of responses.
	MetricResponseTime = "stateful-route.response_time_seconds"
	// MetricResponseTimeBucket, followed by one of ResponseTimeBounds such as
	// 0.1 or by +Inf, counts the responses since that were at most that slow and
	// slower than the bound below, as num_requests_finished_with_metric.
	MetricResponseTimeBucket = "stateful-route.response_time_le."
	// MetricSessions is the number of sessions bound to the pod.
	MetricSessions = "stateful-route.sessions"
)

// Per service, in a locality's load_metric_stats.
const (
	// MetricCacheHits and MetricCacheMisses count look-ups of sessions since.
	MetricCacheHits   = "stateful-route.cache_hits"
	MetricCacheMisses = "stateful-route.cache_misses"
)

// ReplicaCluster is the cluster name under which an extproc reports on itself,
// in a locality's load_metric_stats.
const (
	ReplicaCluster = "stateful-route-replica"

	MetricMemory        = "stateful-route.memory_bytes"
	MetricMemoryLimit   = "stateful-route.memory_limit_bytes" // 0: not known
	MetricCPU           = "stateful-route.cpu_cores"
	MetricCPULimit      = "stateful-route.cpu_limit_cores" // 0: not known
	MetricTableSize     = "stateful-route.table_size"
	MetricTableCapacity = "stateful-route.table_capacity"
	MetricUnwritten     = "stateful-route.bindings_unwritten" // 1: the file that keeps them cannot be written
	MetricEvictions     = "stateful-route.table_evictions"    // since

	// Of one that shares its bindings: how the store looks to it, an index of StoreStates, how
	// long it may answer without having heard of it, and how many bindings it gave up since its
	// start, for the store had others. One that shares with nobody reports none of them.
	MetricStoreState     = "stateful-route.store_state"
	MetricStoreLease     = "stateful-route.store_lease_seconds"
	MetricStoreConflicts = "stateful-route.store_conflicts"
)

// StoreStates are how a store can look to an extproc; the first is of one that shares its
// bindings with nobody.
func StoreStates() []string { return []string{"", "open", "recovering", "unreachable"} }

// ResponseTimeBounds are the upper bounds, in seconds, of the response time
// histogram that extproc reports: about three per decade from 1 ms to 100 s.
func ResponseTimeBounds() []float64 {
	return []float64{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 20, 50, 100}
}

// ResponseTimeBucket is the metric of one bucket, by the index of its upper bound in
// ResponseTimeBounds. The index after the last is for slower responses.
func ResponseTimeBucket(i int) string {
	bounds := ResponseTimeBounds()
	if i == len(bounds) {
		return MetricResponseTimeBucket + "+Inf"
	}
	return MetricResponseTimeBucket + strconv.FormatFloat(bounds[i], 'g', -1, 64)
}

// ParseResponseTimeBucket is the inverse of ResponseTimeBucket for a metric that
// begins with MetricResponseTimeBucket. ok is false where there is no such bucket.
func ParseResponseTimeBucket(metric string) (i int, ok bool) {
	bound, err := strconv.ParseFloat(strings.TrimPrefix(metric, MetricResponseTimeBucket), 64)
	if err != nil || math.IsNaN(bound) {
		return 0, false
	}
	i, found := slices.BinarySearch(ResponseTimeBounds(), bound)
	return i, found || math.IsInf(bound, 1)
}

// LoadMetric is one value under the name of a load metric.
func LoadMetric(name string, v float64) *endpointv3.EndpointLoadMetricStats {
	return &endpointv3.EndpointLoadMetricStats{MetricName: name, NumRequestsFinishedWithMetric: 1, TotalMetricValue: v}
}
