package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// PodSources serves how the sources of pods do: how many are in each of the
// states, and the greatest age of a list that its source does not confirm. It
// may be called once.
func (m *Monitor) PodSources(states []string, read func() (byState map[string]int, age time.Duration)) error {
	for _, state := range states {
		err := m.Register("pod sources "+state, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "stateful_route_pod_sources",
			Help:        "Sources of pods (files, DNS names) by how they do: good, held, stale or missing.",
			ConstLabels: prometheus.Labels{"state": state},
		}, func() float64 { byState, _ := read(); return float64(byState[state]) }))
		if err != nil {
			return err
		}
	}
	return m.Register("pod source age", prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "stateful_route_pod_source_age_seconds",
		Help: "How long ago the source that is worst off said last what is served of it; 0 while all are good.",
	}, func() float64 { _, age := read(); return age.Seconds() }))
}
