package harness

import (
	"context"
	"encoding/hex"
	"net"
	"slices"
	"sync"
	"testing"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// Span is one span as a collector got it. Ids are hexadecimal; the ParentID of
// a root is empty.
type Span struct {
	Service, Name             string
	TraceID, SpanID, ParentID string
	Attributes                map[string]string
}

// Collector is a receiver of the OpenTelemetry protocol that keeps every span.
type Collector struct {
	collectorv1.UnimplementedTraceServiceServer

	Address string

	mu    sync.Mutex
	spans []Span
}

// StartCollector starts a collector that ends with the test.
func StartCollector(t testing.TB) *Collector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &Collector{Address: l.Addr().String()}
	server := grpc.NewServer()
	collectorv1.RegisterTraceServiceServer(server, c)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return c
}

// Environment has our own programs export to the collector, soon.
func (c *Collector) Environment() []string {
	return []string{
		"OTEL_TRACES_EXPORTER=otlp", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
		"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + c.Address, "OTEL_BSP_SCHEDULE_DELAY=100",
	}
}

// Export implements the protocol.
func (c *Collector) Export(_ context.Context, r *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range r.GetResourceSpans() {
		service := attributes(of.GetResource().GetAttributes())["service.name"]
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				c.spans = append(c.spans, spanOf(service, s))
			}
		}
	}
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

func spanOf(service string, s *tracev1.Span) Span {
	return Span{
		Service: service, Name: s.GetName(),
		TraceID: hex.EncodeToString(s.GetTraceId()), SpanID: hex.EncodeToString(s.GetSpanId()),
		ParentID: hex.EncodeToString(s.GetParentSpanId()), Attributes: attributes(s.GetAttributes()),
	}
}

func attributes(list []*commonv1.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range list {
		if v, ok := kv.GetValue().GetValue().(*commonv1.AnyValue_StringValue); ok {
			out[kv.GetKey()] = v.StringValue
		} else {
			out[kv.GetKey()] = kv.GetValue().String()
		}
	}
	return out
}

// Spans returns those received so far for which keep is true.
func (c *Collector) Spans(keep func(Span) bool) []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.spans), func(s Span) bool { return !keep(s) })
}

// Trace returns the spans of one trace so far.
func (c *Collector) Trace(id string) []Span {
	return c.Spans(func(s Span) bool { return s.TraceID == id })
}
