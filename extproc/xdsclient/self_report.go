package xdsclient

import (
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/wire"
)

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
	own := []*endpointv3.EndpointLoadMetricStats{
		wire.LoadMetric(wire.MetricMemory, float64(u.Memory)),
		wire.LoadMetric(wire.MetricMemoryLimit, float64(u.MemoryLimit)),
		wire.LoadMetric(wire.MetricCPU, u.CPU),
		wire.LoadMetric(wire.MetricCPULimit, u.CPULimit),
		wire.LoadMetric(wire.MetricTableSize, float64(u.Size)),
		wire.LoadMetric(wire.MetricTableCapacity, float64(u.Capacity)),
		wire.LoadMetric(wire.MetricEvictions, float64(evictions)),
		wire.LoadMetric(wire.MetricUnwritten, unwritten),
	}
	return []*endpointv3.ClusterStats{{
		ClusterName:        wire.ReplicaCluster,
		LoadReportInterval: durationpb.New(since),
		UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{{
			Locality:        &corev3.Locality{},
			LoadMetricStats: append(own, storeReport(u.Store)...),
		}},
	}}
}

// storeReport says how the store looks that bindings are shared by; nothing where they are
// not.
func storeReport(s analysis.StoreSample) []*endpointv3.EndpointLoadMetricStats {
	state := slices.Index(wire.StoreStates(), s.State)
	if state <= 0 {
		return nil
	}
	return []*endpointv3.EndpointLoadMetricStats{
		wire.LoadMetric(wire.MetricStoreState, float64(state)),
		wire.LoadMetric(wire.MetricStoreLease, max(s.Lease.Seconds(), 0)),
		wire.LoadMetric(wire.MetricStoreConflicts, float64(s.Conflicts)),
	}
}
