package metrics

import "github.com/prometheus/client_golang/prometheus"

// LoadReports serves how much of the clients' load reports was refused, by reason.
// It may be called once.
func (m *Monitor) LoadReports(refused func() map[string]uint64) error {
	return m.Register("load reports", refusedReports(refused))
}

type refusedReports func() map[string]uint64

func refusedReportsDesc() *prometheus.Desc {
	return prometheus.NewDesc("stateful_route_load_reports_refused_total",
		"Clusters, pods and whole reports of load that were refused: unknown, absurd, or too often.", []string{"reason"}, nil)
}

func (refusedReports) Describe(out chan<- *prometheus.Desc) { out <- refusedReportsDesc() }

func (c refusedReports) Collect(out chan<- prometheus.Metric) {
	for reason, n := range c() {
		out <- prometheus.MustNewConstMetric(refusedReportsDesc(), prometheus.CounterValue, float64(n), reason)
	}
}
