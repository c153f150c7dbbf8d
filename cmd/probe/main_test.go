package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestProbe(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/no", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "pods have not arrived", http.StatusServiceUnavailable)
	})
	mux.HandleFunc("/hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	server := httptest.NewServer(mux)
	defer server.Close()

	if err := probe(t.Context(), server.URL+"/ok"); err != nil {
		t.Errorf("ok: %v", err)
	}
	err := probe(t.Context(), server.URL+"/no")
	if err == nil || !strings.Contains(err.Error(), "503") || !strings.Contains(err.Error(), "pods have not arrived") {
		t.Errorf("no: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := probe(ctx, server.URL+"/hangs"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hangs: %v", err)
	}
	gone := server.URL
	server.Close()
	if err := probe(t.Context(), gone+"/ok"); err == nil {
		t.Error("nobody listens: accepted")
	}
}
