package gateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

func valid() Adapter {
	return Adapter{
		Name: "mine-cookie", Description: "Mine", Key: Key{Kind: IssuedCookie, Name: "SERVERID"},
		Without:   map[Feature]string{GRPC: "speaks HTTP/1.1 only"},
		Available: func(context.Context) error { return nil },
		Start:     func(context.Context, Options) (Gateway, error) { return nil, nil },
	}
}

func TestValidate(t *testing.T) {
	if err := valid().Validate(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Adapter){
		"name: want":      func(a *Adapter) { a.Name = "Mine" },
		"description: is": func(a *Adapter) { a.Description = "" },
		"both are needed": func(a *Adapter) { a.Start = nil },
		"no kind":         func(a *Adapter) { a.Key.Kind = "ip" },
		"has no name":     func(a *Adapter) { a.Key.Name = "" },
		"no feature":      func(a *Adapter) { a.Without = map[Feature]string{"teapot": "short and stout"} },
		"has no reason":   func(a *Adapter) { a.Without = map[Feature]string{GRPC: ""} },
	} {
		a := valid()
		spoil(&a)
		if err := a.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestWaitStatusWaits(t *testing.T) {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	if err := WaitStatus(t.Context(), server.URL, http.StatusOK); err != nil || asked.Load() != 3 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := WaitStatus(ctx, server.URL, http.StatusTeapot); err == nil {
		t.Error("no error after the context's end")
	}
}
