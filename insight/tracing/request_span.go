package tracing

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// RequestSpan is the span of one request, or nothing when tracing is off: the
// methods of a zero RequestSpan do nothing and allocate nothing. The methods
// for single steps record a step that has just ended, as a child of the request;
// they take the session key only as a hash, for traces leave the machine.
type RequestSpan struct {
	tracer *Tracer
	ctx    context.Context
	span   trace.Span
	start  time.Time // of the next step; zero means that it took no time
}

// Recording reports whether what is recorded will be kept; use it to skip work
// that only a span needs, such as hashing a key.
func (s RequestSpan) Recording() bool { return s.span != nil && s.span.IsRecording() }

// TraceID returns the trace's id in hexadecimal, for an exemplar; "" when the
// trace is not sampled, for nobody could look it up.
func (s RequestSpan) TraceID() string {
	if s.span == nil || !s.span.SpanContext().IsSampled() {
		return ""
	}
	return s.span.SpanContext().TraceID().String()
}

// At returns the span with the time at which the step recorded next began:
//
//	start := time.Now()
//	binding, ok := table.Lookup(…)
//	span.At(start).TableGet(hashed, ok, binding.Epoch)
func (s RequestSpan) At(start time.Time) RequestSpan {
	s.start = start
	return s
}

// TableGet records a look-up in the session table, and the epoch of the binding found; 0
// where it has none.
func (s RequestSpan) TableGet(hashedKey string, hit bool, epoch uint64) {
	s.table("get", hashedKey, hit, epoch, nil)
}

// TableSet records a claim, rebind or move of a session, and the epoch of the binding in
// force after it; err is why it failed.
func (s RequestSpan) TableSet(hashedKey string, epoch uint64, err error) {
	s.table("set", hashedKey, false, epoch, err)
}

// TableDelete records a session's removal; hit says whether there was one.
func (s RequestSpan) TableDelete(hashedKey string, hit bool) {
	s.table("delete", hashedKey, hit, 0, nil)
}

func (s RequestSpan) table(operation, hashedKey string, hit bool, epoch uint64, err error) {
	if !s.Recording() {
		return
	}
	about := []attribute.KeyValue{
		attribute.String("cache.operation", operation),
		attribute.String("cache.key", hashedKey),
		attribute.Bool("cache.hit", hit),
	}
	if epoch != 0 {
		about = append(about, attribute.Int64("cache.epoch", int64(epoch)))
	}
	s.tracer.end(s.tracer.child(s.ctx, "cache."+operation, s.start, about...), err)
}

// Select records the choice of a pod among podCount; err is why there is none.
func (s RequestSpan) Select(service string, podCount int, pod string, err error) {
	if !s.Recording() {
		return
	}
	span := s.tracer.child(s.ctx, "loadbalancer.select", s.start,
		attribute.String("loadbalancer.operation", "select"),
		attribute.String("loadbalancer.service", service),
		attribute.Int("loadbalancer.pod_count", podCount),
		attribute.String("loadbalancer.pod", pod))
	s.tracer.end(span, err)
}

// Event marks a moment within the request, such as a rebind, and the pod it
// concerns.
func (s RequestSpan) Event(name, pod string) {
	if s.Recording() {
		s.span.AddEvent(name, trace.WithTimestamp(s.tracer.now()), trace.WithAttributes(attribute.String("stateful_route.pod", pod)))
	}
}

// End ends the span with the status the client got, 0 when it got none. The
// span's own status is an error when err is set or the status is a 5xx.
func (s RequestSpan) End(status int, err error) {
	if s.span == nil {
		return
	}
	if status != 0 {
		s.span.SetAttributes(attribute.Int("http.response.status_code", status))
	}
	if err == nil && status >= http.StatusInternalServerError {
		s.span.SetStatus(codes.Error, http.StatusText(status))
	}
	s.tracer.end(s.span, err)
}

// HealthSpan is the span of one active health check; a zero one does nothing.
type HealthSpan struct {
	tracer *Tracer
	span   trace.Span
}

// End ends the span with the check's result; err is why it failed, if known.
func (s HealthSpan) End(ok bool, err error) {
	if s.span == nil {
		return
	}
	s.span.SetAttributes(attribute.Bool("healthcheck.success", ok))
	if !ok && err == nil {
		s.span.SetStatus(codes.Error, "health check failed")
	}
	s.tracer.end(s.span, err)
}

// end ends a span, with err recorded as its status and as an event.
func (t *Tracer) end(span trace.Span, err error) {
	at := trace.WithTimestamp(t.now())
	if err != nil {
		span.RecordError(err, at)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End(at)
}
