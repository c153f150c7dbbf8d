package metrics

import "github.com/prometheus/client_golang/prometheus"

// FastPath serves stateful_route_fast_path_requests_total and
// stateful_route_fast_path_bindings from what is read at each scrape. It can be called once.
func (m *Monitor) FastPath(requests func() map[string]uint64, bindings func() int) error {
	return m.Register("fast path", &fastPathCollector{
		read: requests, shown: bindings,
		requests: prometheus.NewDesc("stateful_route_fast_path_requests_total", "Requests that Envoy looked up itself, by result: hit was sent to its session's pod and unkeyed to any without a callout; the others came to extproc, as all do without the module.", []string{"result"}, nil),
		bindings: prometheus.NewDesc("stateful_route_fast_path_bindings", "Session bindings that Envoy knows itself.", nil, nil),
	})
}

type fastPathCollector struct {
	read               func() map[string]uint64
	shown              func() int
	requests, bindings *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *fastPathCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.requests
	ch <- c.bindings
}

// Collect implements prometheus.Collector.
func (c *fastPathCollector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(c.bindings, prometheus.GaugeValue, float64(c.shown()))
	for result, n := range c.read() {
		ch <- prometheus.MustNewConstMetric(c.requests, prometheus.CounterValue, float64(n), result)
	}
}
