package probe

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/testtls"
	"github.com/stateful-route/stateful-route/xds/secret"
	"github.com/stateful-route/stateful-route/xds/state"
)

// tlsPods are two pods with one certificate: one answers HTTP, the other gRPC. They want
// to be shown a certificate.
type tlsPods struct {
	asked       *http.Request
	health      asked
	http1, grpc netip.AddrPort
}

func newTLSPods(t *testing.T, server, clients *testtls.Authority, name string) *tlsPods {
	t.Helper()
	p := &tlsPods{}
	cfg := &tls.Config{
		Certificates: []tls.Certificate{server.Pair(testtls.Leaf{Hosts: []string{name}})},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: clients.Pool(), MinVersion: tls.VersionTLS12,
	}
	web := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { p.asked = r }))
	web.TLS, web.EnableHTTP2, web.Config.ErrorLog = cfg.Clone(), true, log.New(io.Discard, "", 0)
	web.StartTLS()
	t.Cleanup(web.Close)
	p.http1 = netip.MustParseAddrPort(web.Listener.Addr().String())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rpc := grpc.NewServer(grpc.Creds(credentials.NewTLS(cfg)))
	healthv1.RegisterHealthServer(rpc, &p.health)
	done := make(chan error, 1)
	go func() { done <- rpc.Serve(listener) }()
	t.Cleanup(func() { rpc.Stop(); <-done })
	p.grpc = netip.MustParseAddrPort(listener.Addr().String())
	return p
}

// client is clientOf with the secrets of files.
func client(t *testing.T, svc statefulroute.Service) *tls.Config {
	t.Helper()
	secrets, err := secret.Read(secret.Refs(nil, []statefulroute.Service{svc}))
	if err != nil {
		t.Fatal(err)
	}
	return clientOf(svc, secrets)
}

// Probes speak TLS as Envoy does: with the authorities, the name, the certificate and the
// protocol of the service.
func TestProbesSpeakTLS(t *testing.T) {
	ca, other, dir := testtls.NewAuthority(t), testtls.NewAuthority(t), t.TempDir()
	pods := newTLSPods(t, ca, ca, "chat.internal")
	cert, key := ca.Write(dir, "client", testtls.Leaf{})
	strange, strangeKey := other.Write(dir, "strange", testtls.Leaf{})
	good := statefulroute.PodTLS{CA: ca.WriteCA(dir, "ca"), ServerName: "chat.internal", Cert: cert, Key: key}
	with := func(edit func(*statefulroute.PodTLS)) statefulroute.PodTLS {
		t := good
		edit(&t)
		return t
	}
	otherCA := with(func(t *statefulroute.PodTLS) { t.CA = other.WriteCA(dir, "other") })
	otherName := with(func(t *statefulroute.PodTLS) { t.ServerName = "other.internal" })
	checks := map[string]struct {
		check statefulroute.HealthCheck
		at    netip.AddrPort
	}{
		"tcp":  {statefulroute.HealthCheck{TCP: true}, pods.http1},
		"http": {statefulroute.HealthCheck{HTTP: "/healthz"}, pods.http1},
		"grpc": {statefulroute.HealthCheck{GRPCSet: true}, pods.grpc},
	}
	for _, c := range []struct {
		name  string
		tls   statefulroute.PodTLS
		fails string
		but   string
	}{
		{"good", good, "", ""},
		{"another authority", otherCA, "certificate signed by unknown authority", ""},
		{"another name", otherName, "not other.internal", ""},
		// A pod says so after the handshake, which is all that tcp looks at.
		{"no certificate", with(func(t *statefulroute.PodTLS) { t.Cert, t.Key = "", "" }), "probe: ", "tcp"},
		{"a strange certificate", with(func(t *statefulroute.PodTLS) { t.Cert, t.Key = strange, strangeKey }), "probe: ", "tcp"},
	} {
		for kind, k := range checks {
			svc := statefulroute.Service{Name: "chat", TLS: &c.tls, Protocol: statefulroute.HTTP1}
			if kind == "grpc" {
				svc.Protocol = statefulroute.GRPC
			}
			check := k.check
			check.Timeout = 10 * time.Second
			err := probe(t.Context(), check, client(t, svc), k.at)
			want := c.fails
			if kind == c.but {
				want = ""
			}
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s, %s: %v, want %q", c.name, kind, err, want)
			}
		}
	}
	if got := pods.health.metadata.Get(":authority"); len(got) != 1 || got[0] != "chat.internal" {
		t.Errorf("gRPC asked for %v", got)
	}
	for protocol, want := range map[statefulroute.Protocol]string{statefulroute.HTTP1: "HTTP/1.1", statefulroute.HTTP2: "HTTP/2.0", statefulroute.Auto: "HTTP/2.0"} {
		svc := statefulroute.Service{TLS: &good, Protocol: protocol}
		for host, asked := range map[string]string{"": "chat.internal", "else:81": "else:81"} {
			check := statefulroute.HealthCheck{HTTP: "/", Host: host, Timeout: 10 * time.Second}
			if err := probe(t.Context(), check, client(t, svc), pods.http1); err != nil || pods.asked.Proto != want || pods.asked.Host != asked {
				t.Errorf("%s: asked by %s for %q, %v", protocol, pods.asked.Proto, pods.asked.Host, err)
			}
		}
	}
	check := statefulroute.HealthCheck{GRPCSet: true, Host: "else:81", Timeout: 10 * time.Second}
	svc := statefulroute.Service{TLS: &good, Protocol: statefulroute.GRPC}
	if err := probe(t.Context(), check, client(t, svc), pods.grpc); err != nil || pods.health.metadata.Get(":authority")[0] != "else:81" {
		t.Errorf("gRPC asked for %v, %v", pods.health.metadata.Get(":authority"), err)
	}
	// Secrets that are missing trust nobody.
	if err := probe(t.Context(), check, clientOf(svc, nil), pods.grpc); err == nil {
		t.Error("without authorities a pod was believed")
	}
}

// The prober speaks by what is in force now.
func TestTheProberFollowsSecrets(t *testing.T) {
	ca, other, dir := testtls.NewAuthority(t), testtls.NewAuthority(t), t.TempDir()
	a, b := newTLSPods(t, ca, ca, "chat.internal"), newTLSPods(t, other, ca, "chat.internal")
	cert, key := ca.Write(dir, "client", testtls.Leaf{})
	svcTLS := &statefulroute.PodTLS{CA: ca.WriteCA(dir, "ca"), ServerName: "chat.internal", Cert: cert, Key: key}
	read := func() map[string]*secret.Secret {
		secrets, err := secret.Read(secret.Refs(nil, []statefulroute.Service{{TLS: svcTLS}}))
		if err != nil {
			t.Fatal(err)
		}
		return secrets
	}
	check := statefulroute.HealthCheck{HTTP: "/", Interval: 10 * time.Millisecond, Timeout: 5 * time.Second, UnhealthyAfter: 1, HealthyAfter: 1}
	_, found := startProber(t, check, statefulroute.Pod{Name: "a", Address: a.http1, Weight: 1}, statefulroute.Pod{Name: "b", Address: b.http1, Weight: 1})
	found.edit(func(m *state.Model) { m.Services[0].TLS, m.Gateway.Secrets = svcTLS, read() })
	await(t, "the pod of another authority to be out", func() bool { return !found.isDown("a") && found.isDown("b") })
	other.WriteCA(dir, "ca")
	found.edit(func(m *state.Model) { m.Gateway.Secrets = read() })
	await(t, "the pods to change places", func() bool { return found.isDown("a") && !found.isDown("b") })
}
