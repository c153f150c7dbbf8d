package tracing

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestSpansThatCannotBeExportedAreCounted(t *testing.T) {
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	tracer, err := NewTracer(t.Context(), TracerOptions{Process: "test"})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		_, span := tracer.Request(t.Context(), nil, nil, "chat")
		span.End(200, nil)
	}
	_ = tracer.Shutdown(t.Context()) // its error is the export's
	if full, failed := tracer.Dropped(); full != 0 || failed != 5 {
		t.Errorf("%d spans found the queue full and %d were not exported, want 0 and 5", full, failed)
	}
}
