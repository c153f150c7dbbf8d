package tracing

import (
	"context"
	"os"
	"strconv"
	"sync/atomic"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

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
