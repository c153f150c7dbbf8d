package metrics

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stateful-route/stateful-route/insight/tracing"
)

// hangingCollector takes what it is sent and never answers.
func hangingCollector(t *testing.T) (url string) {
	t.Helper()
	asked := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-asked }))
	t.Cleanup(func() {
		close(asked)
		server.Close()
	})
	return server.URL
}

// A collector that hangs costs spans, which are counted, and neither a request's
// time nor the process's end.
func TestACollectorThatHangsHoldsNobodyUp(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", hangingCollector(t))
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	t.Setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
	t.Setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
	t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "600000") // longer than any test
	tracer, err := tracing.NewTracer(t.Context(), tracing.TracerOptions{Process: "test"})
	if err != nil {
		t.Fatal(err)
	}
	m := newTestMonitor(t, MonitorOptions{})
	if err := m.Spans(tracer); err != nil {
		t.Fatal(err)
	}
	const spans = 1000
	for range spans { // ends only because no span waits for the collector
		_, span := tracer.Request(t.Context(), nil, nil, "chat")
		span.End(200, nil)
	}
	got, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	full := got[`stateful_route_trace_spans_dropped_total{reason="queue_full"}`]
	// At most the queue and some batches of ten have left it.
	if full < spans-100-20 || full > spans-100 {
		t.Errorf("%v spans counted as dropped, want about %d", full, spans-100)
	}
	if n, there := got[`stateful_route_trace_spans_dropped_total{reason="export_failed"}`]; n != 0 || !there {
		t.Errorf("%v exports failed (served: %v)", n, there)
	}
	bounded, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := tracer.Shutdown(bounded); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown with a collector that hangs: %v", err)
	}
}

// A scraper that asks and never reads locks nothing: what is counted and what
// others scrape goes on.
func TestAScraperThatReadsNothingHoldsNobodyUp(t *testing.T) {
	m := newTestMonitor(t, MonitorOptions{})
	// An answer that no socket's buffers hold.
	large := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "large", Help: "large"}, []string{"n"})
	if err := m.Register("large", large); err != nil {
		t.Fatal(err)
	}
	filler := string(make([]byte, 4096))
	for i := range 4096 {
		large.WithLabelValues(filler + string(rune('a'+i))).Set(1)
	}
	blocked := make(chan struct{})
	handler := m.Handler()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(&announcing{ResponseWriter: w, first: blocked}, r)
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	<-blocked // its answer has begun
	m.Service("chat").Request("chat-0", "GET", 200, time.Millisecond, "")
	large.WithLabelValues("another").Set(1)
	if _, err := m.Snapshot(); err != nil {
		t.Fatal(err)
	}
	m.Service("chat").KeepPods(nil)
	m.KeepServices(nil)
}

// announcing closes first when the answer begins.
type announcing struct {
	http.ResponseWriter
	first chan struct{}
	begun bool
}

func (a *announcing) Write(p []byte) (int, error) {
	if !a.begun {
		a.begun = true
		close(a.first)
	}
	return a.ResponseWriter.Write(p)
}
