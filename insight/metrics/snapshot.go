package metrics

import (
	"fmt"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// Snapshot returns every value served at this moment, under its name and labels
// as in the text format: `stateful_route_cache_hits_total{service="chat"}`. A
// histogram appears as its _count and _sum, a summary likewise.
func (m *Monitor) Snapshot() (map[string]float64, error) {
	families, err := m.registry.Gather()
	values := make(map[string]float64)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			addValues(values, family.GetName(), labelString(metric.GetLabel()), metric)
		}
	}
	if err != nil {
		return values, fmt.Errorf("metrics: gather metrics: %w", err)
	}
	return values, nil
}

func addValues(values map[string]float64, name, labels string, metric *dto.Metric) {
	switch {
	case metric.Counter != nil:
		values[name+labels] = metric.Counter.GetValue()
	case metric.Gauge != nil:
		values[name+labels] = metric.Gauge.GetValue()
	case metric.Untyped != nil:
		values[name+labels] = metric.Untyped.GetValue()
	case metric.Histogram != nil:
		values[name+"_count"+labels] = float64(metric.Histogram.GetSampleCount())
		values[name+"_sum"+labels] = metric.Histogram.GetSampleSum()
	case metric.Summary != nil:
		values[name+"_count"+labels] = float64(metric.Summary.GetSampleCount())
		values[name+"_sum"+labels] = metric.Summary.GetSampleSum()
	}
}

// labelString renders labels as the text format does; "" when there are none.
func labelString(labels []*dto.LabelPair) string {
	if len(labels) == 0 {
		return ""
	}
	pairs := make([]string, len(labels))
	for i, l := range labels {
		pairs[i] = l.GetName() + "=" + strconv.Quote(l.GetValue())
	}
	return "{" + strings.Join(pairs, ",") + "}"
}
