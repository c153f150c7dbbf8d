package insight

import "github.com/prometheus/client_golang/prometheus"

// CacheStats is what a session table tells the monitor at each scrape.
type CacheStats struct {
	// Size is the number of bindings held.
	Size int
	// Evictions counts the bindings given up since the start, by reason.
	Evictions map[string]uint64
}

// CacheStats serves stateful_route_cache_size and
// stateful_route_cache_evictions_total from the table's own counters, read at
// each scrape, so that they are exact and cost the request path nothing. It can
// be called once.
func (m *Monitor) CacheStats(read func() CacheStats) error {
	return m.Register("cache", &cacheCollector{
		read:      read,
		size:      prometheus.NewDesc("stateful_route_cache_size", "Session bindings held.", nil, nil),
		evictions: prometheus.NewDesc("stateful_route_cache_evictions_total", "Session bindings given up, by reason.", []string{"reason"}, nil),
	})
}

type cacheCollector struct {
	read            func() CacheStats
	size, evictions *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *cacheCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.size
	ch <- c.evictions
}

// Collect implements prometheus.Collector.
func (c *cacheCollector) Collect(ch chan<- prometheus.Metric) {
	stats := c.read()
	ch <- prometheus.MustNewConstMetric(c.size, prometheus.GaugeValue, float64(stats.Size))
	for reason, n := range stats.Evictions {
		ch <- prometheus.MustNewConstMetric(c.evictions, prometheus.CounterValue, float64(n), reason)
	}
}
