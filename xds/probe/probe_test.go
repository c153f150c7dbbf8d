package probe

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	statefulroute "github.com/stateful-route/stateful-route"
)

// named is a check that asks for a host, with a header.
func named(edit func(*statefulroute.HealthCheck)) statefulroute.HealthCheck {
	check := statefulroute.HealthCheck{Timeout: 5 * time.Second, Host: "chat.internal:81", Headers: map[string]string{"Authorization": "Bearer x"}}
	edit(&check)
	return check
}

// Pods that serve several hosts, or want to know who asks, are probed as told, in the
// version of HTTP that they speak.
func TestAnHTTPProbeAsksForItsHost(t *testing.T) {
	for version, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		var got *http.Request
		pod := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r }))
		pod.Config.Protocols = new(http.Protocols)
		pod.Config.Protocols.SetHTTP1(!http2)
		pod.Config.Protocols.SetUnencryptedHTTP2(http2)
		pod.Start()
		defer pod.Close()
		check := named(func(c *statefulroute.HealthCheck) { c.HTTP, c.HTTP2 = "/healthz", http2 })
		if err := probe(t.Context(), check, netip.MustParseAddrPort(pod.Listener.Addr().String())); err != nil {
			t.Errorf("%s: %v", version, err)
			continue
		}
		if got.Proto != version || got.Host != check.Host || got.Header.Get("Authorization") != "Bearer x" {
			t.Errorf("want %s: got %s, host %q, headers %v", version, got.Proto, got.Host, got.Header)
		}
	}
}

// asked is a health server that keeps what it was asked with.
type asked struct {
	healthv1.UnimplementedHealthServer

	metadata metadata.MD
}

func (a *asked) Check(ctx context.Context, _ *healthv1.HealthCheckRequest) (*healthv1.HealthCheckResponse, error) {
	a.metadata, _ = metadata.FromIncomingContext(ctx)
	return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}, nil
}

func TestAGRPCProbeAsksForItsHost(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pod, server := &asked{}, grpc.NewServer()
	healthv1.RegisterHealthServer(server, pod)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() { server.Stop(); <-served }()
	check := named(func(c *statefulroute.HealthCheck) { c.GRPCSet = true })
	if err := probe(t.Context(), check, netip.MustParseAddrPort(listener.Addr().String())); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{":authority": check.Host, "authorization": "Bearer x"} {
		if got := pod.metadata.Get(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %v, want %q", name, got, want)
		}
	}
}
