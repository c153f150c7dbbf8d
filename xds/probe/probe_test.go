package probe

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing/health"
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
		if err := probe(t.Context(), check, nil, netip.MustParseAddrPort(pod.Listener.Addr().String())); err != nil {
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
	if err := probe(t.Context(), check, nil, netip.MustParseAddrPort(listener.Addr().String())); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{":authority": check.Host, "authorization": "Bearer x"} {
		if got := pod.metadata.Get(name); len(got) != 1 || got[0] != want {
			t.Errorf("%s is %v, want %q", name, got, want)
		}
	}
}

// A pod whose process is gone, or whose machine does not answer, is another matter than one
// that is there and answers wrongly, late or not at all.
func TestAProbeTellsAPodThatIsGoneFromOneThatIsWrong(t *testing.T) {
	kinds := map[string]func(*statefulroute.HealthCheck){
		"tcp":    func(c *statefulroute.HealthCheck) { c.TCP = true },
		"http":   func(c *statefulroute.HealthCheck) { c.HTTP = "/healthz" },
		"http/2": func(c *statefulroute.HealthCheck) { c.HTTP, c.HTTP2 = "/healthz", true },
		"grpc":   func(c *statefulroute.HealthCheck) { c.GRPCSet = true },
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := closed.Addr().String()
	_ = closed.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts for it
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	wrong := httptest.NewServer(http.NotFoundHandler())
	defer wrong.Close()
	for kind, edit := range kinds {
		for _, c := range []struct {
			name, at string
			want     health.Outcome
			but      string // not for this kind
		}{
			{"a closed port", refusing, health.Unreachable, ""},
			{"a full backlog", fullBacklog(t), health.Unreachable, ""},
			{"one that says nothing", silent.Addr().String(), health.Failed, "tcp"},
			{"one that answers wrongly", wrong.Listener.Addr().String(), health.Failed, "tcp"},
		} {
			if kind == c.but {
				continue
			}
			check := statefulroute.HealthCheck{Timeout: 300 * time.Millisecond}
			edit(&check)
			err := probe(t.Context(), check, nil, netip.MustParseAddrPort(c.at))
			if got := outcome(err); got != c.want {
				t.Errorf("%s at %s: %v (%v), want %v", kind, c.name, got, err, c.want)
			}
		}
	}
}

// All probes of a service share what TLS they speak.
func TestProbesThroughTLSAtOnce(t *testing.T) {
	pod := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	pod.EnableHTTP2 = true
	pod.StartTLS()
	defer pod.Close()
	secure := pod.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	secure.NextProtos, secure.ServerName = []string{alpnHTTP2, alpnHTTP1}, "example.com"
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			check := statefulroute.HealthCheck{HTTP: "/", Timeout: 10 * time.Second}
			if err := probe(t.Context(), check, secure, netip.MustParseAddrPort(pod.Listener.Addr().String())); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if !slices.Equal(secure.NextProtos, []string{alpnHTTP2, alpnHTTP1}) {
		t.Errorf("the service's own configuration offers %q now", secure.NextProtos)
	}
}

// fullBacklog is the address of a socket that takes no connection any more and refuses
// none: connecting to it takes until time is up.
func fullBacklog(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for {
		c, err := net.DialTimeout("tcp", at, 100*time.Millisecond)
		if err != nil {
			return at
		}
		t.Cleanup(func() { _ = c.Close() })
	}
}

// That this machine cannot open a connection says nothing about a pod.
func TestALackOfOurOwnIsNoFaultOfAPod(t *testing.T) {
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS} {
		if podsFault(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", err)}) {
			t.Errorf("%v counts as the pod's", err)
		}
	}
	d := dialer{Dialer: net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}}} // not ours
	if _, err := d.DialContext(t.Context(), "tcp", "127.0.0.1:1"); err == nil || d.unreachable.Load() {
		t.Errorf("without an address of our own: %v counts as the pod's", err)
	}
}
