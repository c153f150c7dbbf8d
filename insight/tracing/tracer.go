package tracing

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// tracerName is the instrumentation scope of every span made here.
const tracerName = "stateful-route"

// TracerOptions configures a Tracer.
type TracerOptions struct {
	// Process names the binary; "stateful-route-" + Process is the service.name
	// unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES says otherwise.
	// Required.
	Process string
	// Version is the binary's version; empty leaves service.version out.
	Version string
	// Provider makes the spans instead of one built from the environment; its
	// owner shuts it down. nil means the environment decides.
	Provider trace.TracerProvider
	// Now is the clock by which spans begin and end. nil means time.Now.
	Now func() time.Time
}

// Tracer makes the spans of requests and health checks. A nil Tracer, and one
// that is off, makes none and costs nothing. Its methods may be called from any
// goroutine.
type Tracer struct {
	tracer   trace.Tracer             // nil when off
	provider *sdktrace.TracerProvider // nil when off or owned by the caller
	queue    *spanQueue               // nil without a provider
	now      func() time.Time
}

// NewTracer returns a tracer set up by the standard OTEL_* variables: exporter
// (OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_*), sampler (OTEL_TRACES_SAMPLER),
// batching (OTEL_BSP_*) and resource (OTEL_SERVICE_NAME,
// OTEL_RESOURCE_ATTRIBUTES). Tracing is on when an exporter is named or an OTLP
// endpoint is set (OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT),
// unless OTEL_TRACES_EXPORTER is none or OTEL_SDK_DISABLED is true. With none of
// them it is off, unlike the specification's default: nobody asked for a
// collector on localhost.
func NewTracer(ctx context.Context, o TracerOptions) (*Tracer, error) {
	if o.Process == "" {
		return nil, errors.New("tracing: TracerOptions.Process is empty")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Provider != nil {
		return &Tracer{tracer: o.Provider.Tracer(tracerName), now: o.Now}, nil
	}
	if !tracingWanted() {
		return &Tracer{}, nil
	}
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("tracing: trace exporter from OTEL_TRACES_EXPORTER: %w", err)
	}
	described, err := describeProcess(ctx, o)
	if err != nil {
		return nil, errors.Join(err, exporter.Shutdown(ctx))
	}
	queue := newSpanQueue(exporter)
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(queue), sdktrace.WithResource(described))
	return &Tracer{tracer: provider.Tracer(tracerName), provider: provider, queue: queue, now: o.Now}, nil
}

// tracingWanted reads the variables that turn tracing on and off.
func tracingWanted() bool {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return false
	}
	if exporter := os.Getenv("OTEL_TRACES_EXPORTER"); exporter != "" {
		return exporter != "none"
	}
	return os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

func describeProcess(ctx context.Context, o TracerOptions) (*resource.Resource, error) {
	known := []attribute.KeyValue{attribute.String("service.name", "stateful-route-"+o.Process)}
	if o.Version != "" {
		known = append(known, attribute.String("service.version", o.Version))
	}
	// Later sources win, so the environment has the last word.
	r, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(known...), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("tracing: describe the process from OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return r, nil
}

// Enabled reports whether spans are made at all.
func (t *Tracer) Enabled() bool { return t != nil && t.tracer != nil }

// Sampling says of which requests there may be spans: of those whose parent is sampled, and
// of those without a parent. It goes by the standard sampler that OTEL_TRACES_SAMPLER names.
func (t *Tracer) Sampling() (sampled, parentless bool) {
	if !t.Enabled() {
		return false, false
	}
	sampler := os.Getenv("OTEL_TRACES_SAMPLER")
	if t.provider == nil {
		sampler = "" // the provider's owner knows
	}
	return sampler != "always_off", !strings.HasSuffix(sampler, "always_off")
}

// Dropped counts the spans that never reached the collector: because the queue
// (OTEL_BSP_MAX_QUEUE_SIZE) was full, and because an export failed.
func (t *Tracer) Dropped() (queueFull, exportFailed uint64) {
	if t == nil || t.queue == nil {
		return 0, 0
	}
	return t.queue.refused.Load(), t.queue.unexported.Load()
}

// Shutdown exports what is left and stops exporting. It returns when ctx ends,
// whatever the collector does.
func (t *Tracer) Shutdown(ctx context.Context) error {
	if t == nil || t.provider == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("tracing: shut tracing down: %w", err)
	}
	return nil
}

// Request starts the span of one request to service. Its parent is the
// traceparent that meta holds (the metadata of the callout: the proxy's own
// span), else the one in the request's headers, else none. Either function may
// be nil; both must find lower-case names.
func (t *Tracer) Request(ctx context.Context, meta, header func(name string) string, service string) (context.Context, RequestSpan) {
	if !t.Enabled() {
		return ctx, RequestSpan{}
	}
	ctx, span := t.tracer.Start(withParent(ctx, meta, header), "request",
		trace.WithTimestamp(t.now()), trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.String("stateful_route.service", service)))
	return ctx, RequestSpan{tracer: t, ctx: ctx, span: span}
}

// withParent returns ctx with the first usable remote parent.
func withParent(ctx context.Context, sources ...func(string) string) context.Context {
	for _, source := range sources {
		if source == nil {
			continue
		}
		carrier := propagation.MapCarrier{
			"traceparent": source("traceparent"), "tracestate": source("tracestate"),
		}
		parent := propagation.TraceContext{}.Extract(ctx, carrier)
		if trace.SpanContextFromContext(parent).IsRemote() {
			return parent
		}
	}
	return ctx
}

// HealthCheck starts the span of one active health check of a pod.
func (t *Tracer) HealthCheck(ctx context.Context, service, pod string) (context.Context, HealthSpan) {
	if !t.Enabled() {
		return ctx, HealthSpan{}
	}
	ctx, span := t.tracer.Start(ctx, "healthcheck.check", trace.WithTimestamp(t.now()), trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(attribute.String("healthcheck.service", service), attribute.String("healthcheck.pod_id", pod)))
	return ctx, HealthSpan{tracer: t, span: span}
}

// child makes a finished span that began at start.
func (t *Tracer) child(ctx context.Context, name string, start time.Time, attributes ...attribute.KeyValue) trace.Span {
	if start.IsZero() {
		start = t.now()
	}
	_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(start), trace.WithAttributes(attributes...))
	return span
}
