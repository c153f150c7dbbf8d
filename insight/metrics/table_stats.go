package metrics

import "github.com/prometheus/client_golang/prometheus"

// TableStats is what a session table tells the monitor at each scrape. Its counts
// are since the start.
type TableStats struct {
	// Size is the number of bindings held.
	Size int
	// Evictions counts the bindings given up, by reason.
	Evictions map[string]uint64
	// GhostRestores counts the sessions that came back after that and were bound to their
	// pod again, Broken those that could not be.
	GhostRestores, Broken uint64
}

// TableStats serves stateful_route_cache_size, stateful_route_cache_evictions_total,
// stateful_route_cache_recalls_total and stateful_route_cache_broken_total from the
// table's own counters, read at each scrape, so that they are exact and cost the
// request path nothing. It can be called once.
func (m *Monitor) TableStats(read func() TableStats) error {
	return m.Register("cache", &tableCollector{
		read:      read,
		size:      prometheus.NewDesc("stateful_route_cache_size", "Session bindings held.", nil, nil),
		evictions: prometheus.NewDesc("stateful_route_cache_evictions_total", "Session bindings given up, by reason.", []string{"reason"}, nil),
		recalls:   prometheus.NewDesc("stateful_route_cache_recalls_total", "Sessions bound to their pod again after their binding was given up.", nil, nil),
		broken:    prometheus.NewDesc("stateful_route_cache_broken_total", "Sessions that came back after their binding was given up or refused, and could not be bound to their pod again.", nil, nil),
	})
}

type tableCollector struct {
	read                             func() TableStats
	size, evictions, recalls, broken *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *tableCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.size
	ch <- c.evictions
	ch <- c.recalls
	ch <- c.broken
}

// Collect implements prometheus.Collector.
func (c *tableCollector) Collect(ch chan<- prometheus.Metric) {
	stats := c.read()
	ch <- prometheus.MustNewConstMetric(c.size, prometheus.GaugeValue, float64(stats.Size))
	ch <- prometheus.MustNewConstMetric(c.recalls, prometheus.CounterValue, float64(stats.GhostRestores))
	ch <- prometheus.MustNewConstMetric(c.broken, prometheus.CounterValue, float64(stats.Broken))
	for reason, n := range stats.Evictions {
		ch <- prometheus.MustNewConstMetric(c.evictions, prometheus.CounterValue, float64(n), reason)
	}
}
