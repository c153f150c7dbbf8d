package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/stateful-route/stateful-route/insight/tracing"
)

// LogLines serves how many lines of the log were given up because nobody read
// them in time. It may be called once.
func (m *Monitor) LogLines(dropped func() uint64) error {
	if dropped == nil {
		return nil // nobody counts
	}
	return m.Register("log lines", prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "stateful_route_log_lines_dropped_total",
		Help: "Lines of the log that were given up because nobody read them in time.",
	}, func() float64 { return float64(dropped()) }))
}

// Spans serves how many spans of the tracer never reached its collector, by
// reason: queue_full, or export_failed. It may be called once; a tracer that is
// off drops none.
func (m *Monitor) Spans(t *tracing.Tracer) error {
	return m.Register("spans", &spanCounter{tracer: t})
}

type spanCounter struct{ tracer *tracing.Tracer }

// droppedSpans describes the metric of spanCounter.
func droppedSpans() *prometheus.Desc {
	return prometheus.NewDesc("stateful_route_trace_spans_dropped_total",
		"Spans that never reached the collector: the queue was full, or the export failed.", []string{"reason"}, nil)
}

func (*spanCounter) Describe(out chan<- *prometheus.Desc) { out <- droppedSpans() }

func (c *spanCounter) Collect(out chan<- prometheus.Metric) {
	full, failed := c.tracer.Dropped()
	for reason, n := range map[string]uint64{"queue_full": full, "export_failed": failed} {
		out <- prometheus.MustNewConstMetric(droppedSpans(), prometheus.CounterValue, float64(n), reason)
	}
}
