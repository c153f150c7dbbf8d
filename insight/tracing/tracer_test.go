package tracing

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	proxyParent  = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	clientParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
)

func values(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func recordingTracer(t *testing.T) (*Tracer, *tracetest.SpanRecorder) {
	t.Helper()
	recorder := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
	t.Cleanup(func() {
		if err := provider.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	tracer, err := NewTracer(t.Context(), TracerOptions{Process: "test", Provider: provider})
	if err != nil {
		t.Fatal(err)
	}
	return tracer, recorder
}

func TestParentIsTheProxysSpanThenTheClients(t *testing.T) {
	for _, c := range []struct {
		name         string
		meta, header func(string) string
		want         string
	}{
		{"both", values("traceparent", proxyParent), values("traceparent", clientParent), "b7ad6b7169203331"},
		{"header only", values(), values("traceparent", clientParent), "00f067aa0ba902b7"},
		{"no functions", nil, nil, "0000000000000000"},
		{"damaged metadata", values("traceparent", "00-zz"), values("traceparent", clientParent), "00f067aa0ba902b7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tracer, recorder := recordingTracer(t)
			_, span := tracer.Request(t.Context(), c.meta, c.header, "chat")
			span.End(200, nil)
			if got := recorder.Ended()[0].Parent().SpanID().String(); got != c.want {
				t.Errorf("parent span %s, want %s", got, c.want)
			}
		})
	}
}

func TestSpansAndAttributesOfTheContract(t *testing.T) {
	tracer, recorder := recordingTracer(t)
	ctx, span := tracer.Request(t.Context(), values("traceparent", proxyParent), nil, "chat")
	start := time.Now().Add(-time.Second)
	span.At(start).TableGet("h1", false, 0)
	span.Select("chat", 3, "chat-1", nil)
	span.TableSet("h1", 7, errors.New("table full"))
	span.TableDelete("h1", true)
	span.Event("rebound", "chat-1")
	span.End(503, nil)
	_, check := tracer.HealthCheck(ctx, "chat", "chat-2")
	check.End(false, nil)

	want := []struct {
		name       string
		attributes map[attribute.Key]string
		status     codes.Code
		events     int
	}{
		{"cache.get", map[attribute.Key]string{"cache.operation": "get", "cache.key": "h1", "cache.hit": "false"}, codes.Unset, 0},
		{"loadbalancer.select", map[attribute.Key]string{"loadbalancer.operation": "select", "loadbalancer.service": "chat", "loadbalancer.pod_count": "3", "loadbalancer.pod": "chat-1"}, codes.Unset, 0},
		{"cache.set", map[attribute.Key]string{"cache.operation": "set", "cache.key": "h1", "cache.hit": "false", "cache.epoch": "7"}, codes.Error, 1},
		{"cache.delete", map[attribute.Key]string{"cache.operation": "delete", "cache.key": "h1", "cache.hit": "true"}, codes.Unset, 0},
		{"request", map[attribute.Key]string{"stateful_route.service": "chat", "http.response.status_code": "503"}, codes.Error, 1},
		{"healthcheck.check", map[attribute.Key]string{"healthcheck.service": "chat", "healthcheck.pod_id": "chat-2", "healthcheck.success": "false"}, codes.Error, 0},
	}
	got := recorder.Ended()
	if len(got) != len(want) {
		t.Fatalf("%d spans, want %d", len(got), len(want))
	}
	for i, w := range want {
		attributes := make(map[attribute.Key]string)
		for _, a := range got[i].Attributes() {
			attributes[a.Key] = a.Value.String()
		}
		if got[i].Name() != w.name || !maps.Equal(attributes, w.attributes) || got[i].Status().Code != w.status || len(got[i].Events()) != w.events {
			t.Errorf("span %d: %s %v %v %v, want %+v", i, got[i].Name(), attributes, got[i].Status(), got[i].Events(), w)
		}
		if got[i].InstrumentationScope().Name != "stateful-route" || got[i].SpanContext().TraceID().String() != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("span %s: tracer %q, trace %s", w.name, got[i].InstrumentationScope().Name, got[i].SpanContext().TraceID())
		}
	}
	if !got[0].StartTime().Equal(start) {
		t.Errorf("cache.get began at %v, want %v", got[0].StartTime(), start)
	}
}

func TestTraceIDOnlyOfSampledTraces(t *testing.T) {
	tracer, _ := recordingTracer(t)
	_, span := tracer.Request(t.Context(), values("traceparent", proxyParent), nil, "chat")
	if got := span.TraceID(); got != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("TraceID of a sampled trace = %q", got)
	}
	span.End(0, nil)
	_, span = tracer.Request(t.Context(), values("traceparent", proxyParent[:len(proxyParent)-1]+"0"), nil, "chat")
	if got := span.TraceID(); got != "" || span.Recording() {
		t.Errorf("TraceID of an unsampled trace = %q, recording: %v", got, span.Recording())
	}
	span.End(0, nil)
}

func TestOffCostsNothing(t *testing.T) {
	for name, off := range map[string]*Tracer{"nil": nil, "off": {}} {
		header := values("traceparent", clientParent)
		failure := errors.New("no pods")
		n := testing.AllocsPerRun(1000, func() {
			ctx, span := off.Request(t.Context(), header, header, "chat")
			if span.Recording() || trace.SpanContextFromContext(ctx).IsValid() || span.TraceID() != "" {
				t.Fatal("an off tracer records")
			}
			span.At(time.Time{}).TableGet("h", true, 7)
			span.TableSet("h", 7, failure)
			span.TableDelete("h", false)
			span.Select("chat", 3, "chat-0", failure)
			span.Event("rebound", "chat-1")
			span.End(503, failure)
			_, check := off.HealthCheck(ctx, "chat", "chat-0")
			check.End(false, failure)
		})
		if n != 0 {
			t.Errorf("a tracer that is %s allocates %v times per request", name, n)
		}
		if err := off.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestEnvironmentDecides(t *testing.T) {
	for _, c := range []struct {
		exporter, disabled, variable string
		enabled, fails               bool
	}{
		{"", "", "", false, false},
		{"none", "", "", false, false},
		{"otlp", "TRUE", "", false, false},
		{"otlp", "false", "", true, false},
		{"carrier-pigeon", "", "", false, true},
		{"", "", "OTEL_EXPORTER_OTLP_ENDPOINT", true, false},
		{"", "", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", true, false},
		{"none", "", "OTEL_EXPORTER_OTLP_ENDPOINT", false, false},
		{"", "true", "OTEL_EXPORTER_OTLP_ENDPOINT", false, false},
	} {
		t.Run(c.exporter+"/"+c.disabled+"/"+c.variable, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
			t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
			if c.variable != "" {
				t.Setenv(c.variable, "http://127.0.0.1:4318")
			}
			t.Setenv("OTEL_TRACES_EXPORTER", c.exporter)
			t.Setenv("OTEL_SDK_DISABLED", c.disabled)
			tracer, err := NewTracer(t.Context(), TracerOptions{Process: "test"})
			if (err != nil) != c.fails {
				t.Fatalf("NewTracer: %v", err)
			}
			if tracer.Enabled() != c.enabled {
				t.Errorf("enabled: %v, want %v", tracer.Enabled(), c.enabled)
			}
			if err := tracer.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := NewTracer(t.Context(), TracerOptions{}); err == nil {
		t.Error("a tracer without a process name was made")
	}
}

// TestExportGoesToTheCollector checks exporter, sampler and resource as the
// variables set them, against a collector's HTTP endpoint.
func TestExportGoesToTheCollector(t *testing.T) {
	exported := make(chan *http.Request, 4)
	var size atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		size.Add(r.ContentLength)
		exported <- r
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL) // which also turns it on
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
	tracer, err := NewTracer(t.Context(), TracerOptions{Process: "test", Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	_, unsampled := tracer.Request(t.Context(), nil, nil, "chat")
	unsampled.End(200, nil)
	_, sampled := tracer.Request(t.Context(), nil, values("traceparent", clientParent), "chat")
	sampled.End(200, nil)
	if unsampled.Recording() || sampled.TraceID() == "" {
		t.Error("OTEL_TRACES_SAMPLER is not obeyed")
	}
	if err := tracer.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := <-exported; r.URL.Path != "/v1/traces" || size.Load() == 0 {
		t.Errorf("exported to %s, %d bytes", r.URL.Path, size.Load())
	}
}

// What is asked for spans follows the sampler that the environment names.
func TestSampling(t *testing.T) {
	for sampler, want := range map[string][2]bool{
		"": {true, true}, "always_off": {false, false}, "parentbased_always_off": {true, false},
		"parentbased_always_on": {true, true}, "traceidratio": {true, true},
	} {
		t.Setenv("OTEL_TRACES_EXPORTER", "console")
		t.Setenv("OTEL_TRACES_SAMPLER", sampler)
		tracer, err := NewTracer(t.Context(), TracerOptions{Process: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if sampled, parentless := tracer.Sampling(); sampled != want[0] || parentless != want[1] {
			t.Errorf("%q: %v, %v, want %v", sampler, sampled, parentless, want)
		}
		if err := tracer.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if sampled, parentless := (*Tracer)(nil).Sampling(); sampled || parentless {
		t.Error("spans of a tracer that is off")
	}
}
