package insight

import (
	"context"
	"os"
	"strconv"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
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
func (m *Monitor) Spans(t *Tracer) error {
	return m.Register("spans", &spanCounter{tracer: t})
}

type spanCounter struct{ tracer *Tracer }

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

// spanQueue keeps the batch processor's queue within its bound and counts what
// it refuses and what could not be exported, neither of which the processor
// tells. Ending a span never waits for the collector.
type spanQueue struct {
	sdktrace.SpanProcessor // the batch processor
	exporter               sdktrace.SpanExporter
	limit                  int64

	waiting             atomic.Int64 // spans that were queued and not exported yet
	refused, unexported atomic.Uint64
}

// newSpanQueue batches spans as the variables OTEL_BSP_* say.
func newSpanQueue(exporter sdktrace.SpanExporter) *spanQueue {
	q := &spanQueue{exporter: exporter, limit: sdktrace.DefaultMaxQueueSize}
	if n, err := strconv.Atoi(os.Getenv("OTEL_BSP_MAX_QUEUE_SIZE")); err == nil && n > 0 {
		q.limit = int64(n)
	}
	q.SpanProcessor = sdktrace.NewBatchSpanProcessor(countedExporter{q}, sdktrace.WithMaxQueueSize(int(q.limit)))
	return q
}

// OnEnd takes a span if there is room. The processor's own queue is as long and
// holds no more than what is counted here, so it refuses none.
func (q *spanQueue) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	if q.waiting.Add(1) > q.limit {
		q.waiting.Add(-1)
		q.refused.Add(1)
		return
	}
	q.SpanProcessor.OnEnd(s)
}

// countedExporter exports for a queue.
type countedExporter struct{ queue *spanQueue }

func (e countedExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.queue.waiting.Add(-int64(len(spans)))
	err := e.queue.exporter.ExportSpans(ctx, spans)
	if err != nil {
		e.queue.unexported.Add(uint64(len(spans)))
	}
	return err
}

func (e countedExporter) Shutdown(ctx context.Context) error { return e.queue.exporter.Shutdown(ctx) }
