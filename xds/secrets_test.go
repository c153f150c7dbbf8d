package xds

import (
	"slices"
	"testing"
	"time"

	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/testtls"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/secret"
	"github.com/stateful-route/stateful-route/xds/state"
)

// certified is a gateway with a certificate, and how to renew that.
func certified(t *testing.T) (g state.Gateway, name string, renew func() map[string]*secret.Secret) {
	t.Helper()
	ca, dir := testtls.NewAuthority(t), t.TempDir()
	certFile, keyFile := ca.Write(dir, "a", testtls.Leaf{})
	g = testGateway()
	g.Listeners[0].TLS = true
	g.Certificates = []statefulroute.Certificate{{Cert: certFile, Key: keyFile}}
	read := func() map[string]*secret.Secret {
		secrets, err := secret.Read(secret.Refs(g.Certificates, nil))
		if err != nil {
			t.Fatal(err)
		}
		return secrets
	}
	g.Secrets = read()
	renew = func() map[string]*secret.Secret {
		ca.Write(dir, "a", testtls.Leaf{})
		return read()
	}
	return g, secret.Server(g.Certificates[0]).Name(), renew
}

// A renewed certificate is a new secret, and nothing else is sent for it.
func TestARenewedCertificateChangesItsSecretAlone(t *testing.T) {
	protocols(t, func(t *testing.T, protocol string) {
		srv := startServer(t, "a", time.Second)
		gateway, name, renew := certified(t)
		svc := testService("chat")
		svc.Pods.Static = []statefulroute.Pod{testPod("a", 1)}
		if err := srv.SetConfig(t.Context(), gateway, []statefulroute.Service{svc}, nil); err != nil {
			t.Fatal(err)
		}
		envoy := srv.client(t, protocol, "envoy")
		for _, typeURL := range []string{resourcev3.ClusterType, resourcev3.ListenerType} {
			envoy.ask(typeURL)
			p := envoy.next()
			envoy.answer(p, p.version, "")
		}
		envoy.ask(resourcev3.SecretType, name)
		first := envoy.next()
		if first.typeURL != resourcev3.SecretType || len(first.names) != 1 {
			t.Fatalf("asked for a secret, got %+v", first)
		}
		envoy.answer(first, first.version, "")
		srv.waitAnswered(t)
		if err := srv.SetSecrets(t.Context(), renew()); err != nil {
			t.Fatal(err)
		}
		if p := envoy.next(); p.typeURL != resourcev3.SecretType || len(p.names) != 1 || p.version == first.version {
			t.Errorf("got %+v", p)
		} else {
			envoy.answer(p, p.version, "")
		}
		srv.waitAnswered(t)
	})
}

// Keys are for Envoys, and for those who name them.
func TestWhoIsGivenSecrets(t *testing.T) {
	protocols(t, func(t *testing.T, protocol string) {
		srv := startServer(t, "a", time.Second)
		gateway, name, _ := certified(t)
		svc := testService("chat")
		svc.Pods.Static = []statefulroute.Pod{testPod("a", 1)}
		if err := srv.SetConfig(t.Context(), gateway, []statefulroute.Service{svc}, nil); err != nil {
			t.Fatal(err)
		}
		for agent, names := range map[string][]string{"envoy": nil, "envoy-2": {"*"}, "envoy-3": {"another"}, wire.UserAgent: {name}} {
			c := srv.client(t, protocol, agent)
			c.ask(resourcev3.SecretType, names...)
			c.ask(resourcev3.ClusterType)
			if p := c.next(); p.typeURL != resourcev3.ClusterType {
				t.Errorf("%s, which asked for %v, got %s", agent, names, p.typeURL)
			}
			if rows := srv.Clients(); !slices.ContainsFunc(rows, func(r ClientStatus) bool { return r.Node == c.node.Id && r.Type == "sds" }) {
				t.Errorf("no sds of %s among %v", agent, rows)
			}
		}
	})
}

// What Envoys are given does not change for the health checks' sake alone, but those hear
// of a renewed authority.
func TestARenewedSecretIsAChangeForTheProber(t *testing.T) {
	srv := startServer(t, "a", time.Second)
	gateway, name, renew := certified(t)
	if err := srv.SetConfig(t.Context(), gateway, []statefulroute.Service{testService("chat")}, nil); err != nil {
		t.Fatal(err)
	}
	<-srv.Changed()
	renewed := renew()
	if err := srv.SetSecrets(t.Context(), renewed); err != nil {
		t.Fatal(err)
	}
	<-srv.Changed()
	if srv.Model().Gateway.Secrets[name] != renewed[name] {
		t.Error("the model has the old secret")
	}
}
