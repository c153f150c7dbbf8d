package extproc

import (
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/stateful-route/stateful-route/wire"
)

// lookups counts what the look-ups of one service's sessions found since the
// last report.
type lookups struct{ hits, misses atomic.Uint64 }

// take returns the counts as load metrics; nothing when there was no look-up.
func (l *lookups) take() []*endpointv3.EndpointLoadMetricStats {
	hits, misses := l.hits.Swap(0), l.misses.Swap(0)
	if hits+misses == 0 {
		return nil
	}
	return []*endpointv3.EndpointLoadMetricStats{
		loadMetric(wire.MetricCacheHits, float64(hits)),
		loadMetric(wire.MetricCacheMisses, float64(misses)),
	}
}

// selfReport says what the process itself uses and holds, as the statistics of
// a cluster of its own; nothing where nobody knows.
func (r *LoadReporter) selfReport(now time.Time, since time.Duration) []*endpointv3.ClusterStats {
	if r.opts.Usage == nil {
		return nil
	}
	u := r.opts.Usage(now)
	evictions := u.Evictions - r.evictions
	r.evictions = u.Evictions
	unwritten := 0.0
	if u.Unwritten {
		unwritten = 1
	}
	return []*endpointv3.ClusterStats{{
		ClusterName:        wire.ReplicaCluster,
		LoadReportInterval: durationpb.New(since),
		UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{{
			Locality: &corev3.Locality{},
			LoadMetricStats: []*endpointv3.EndpointLoadMetricStats{
				loadMetric(wire.MetricMemory, float64(u.Memory)),
				loadMetric(wire.MetricMemoryLimit, float64(u.MemoryLimit)),
				loadMetric(wire.MetricCPU, u.CPU),
				loadMetric(wire.MetricCPULimit, u.CPULimit),
				loadMetric(wire.MetricTableSize, float64(u.Size)),
				loadMetric(wire.MetricTableCapacity, float64(u.Capacity)),
				loadMetric(wire.MetricEvictions, float64(evictions)),
				loadMetric(wire.MetricUnwritten, unwritten),
			},
		}},
	}}
}

func loadMetric(name string, v float64) *endpointv3.EndpointLoadMetricStats {
	return &endpointv3.EndpointLoadMetricStats{MetricName: name, NumRequestsFinishedWithMetric: 1, TotalMetricValue: v}
}
