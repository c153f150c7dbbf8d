package extproc

import (
	"math"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

// LoadReport says of every pod of every service how fast it answered since the
// last report, and how many sessions it has; and of every service, how many
// look-ups found their session.
func (d *Directory) LoadReport(sessions SessionCounter, since time.Duration) []*endpointv3.ClusterStats {
	var out []*endpointv3.ClusterStats
	for name, s := range d.all() {
		locality := &endpointv3.UpstreamLocalityStats{Locality: &corev3.Locality{}, LoadMetricStats: s.lookups.take()}
		least := math.MaxFloat64
		for _, pod := range s.pods {
			times := pod.times.take()
			if pod.State.TakesNew() {
				least = min(least, responses(times))
			}
			locality.UpstreamEndpointStats = append(locality.UpstreamEndpointStats, &endpointv3.UpstreamEndpointStats{
				Address:         socketAddress(pod.Pod),
				LoadMetricStats: append(times, wire.LoadMetric(wire.MetricSessions, float64(sessions.PodSessions(name, pod.Name)))),
			})
		}
		s.unbound.fine.Store(least < hardlySeen*since.Seconds())
		out = append(out, &endpointv3.ClusterStats{
			ClusterName:           name,
			UpstreamLocalityStats: []*endpointv3.UpstreamLocalityStats{locality},
			LoadReportInterval:    durationpb.New(since),
		})
	}
	return out
}

// responses is the number of response times in a pod's report.
func responses(times []*endpointv3.EndpointLoadMetricStats) float64 {
	for _, m := range times {
		if m.GetMetricName() == wire.MetricResponseTime {
			return float64(m.GetNumRequestsFinishedWithMetric())
		}
	}
	return 0
}

func socketAddress(p statefulroute.Pod) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       p.Address.Addr().String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(p.Address.Port())},
	}}}
}

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
		wire.LoadMetric(wire.MetricCacheHits, float64(hits)),
		wire.LoadMetric(wire.MetricCacheMisses, float64(misses)),
	}
}
