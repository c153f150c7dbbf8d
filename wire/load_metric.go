package wire

import endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

// LoadMetric is one value under the name of a load metric.
func LoadMetric(name string, v float64) *endpointv3.EndpointLoadMetricStats {
	return &endpointv3.EndpointLoadMetricStats{MetricName: name, NumRequestsFinishedWithMetric: 1, TotalMetricValue: v}
}
