package xds

import (
	"testing"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"go.uber.org/zap"
)

// comeBack asks for a type of which the client has something of an earlier run.
func (c *client) comeBack(typeURL string, names ...string) {
	c.t.Helper()
	versions := map[string]string{}
	for _, name := range names {
		versions[name] = "of another run"
	}
	err := c.delta.Send(&discoveryv3.DeltaDiscoveryRequest{
		Node: c.node, TypeUrl: typeURL, ResourceNamesSubscribe: names, InitialResourceVersions: versions})
	if err != nil {
		c.t.Fatal(err)
	}
}

// sent returns the version of what a type of client was sent last, by type.
func (r *running) sent(clientType string) map[string]string {
	out := map[string]string{}
	for _, row := range r.Clients() {
		if row.Client == clientType {
			out[row.Type] = row.Version
		}
	}
	return out
}

// podsIn is how many pods a push of one service's endpoints has.
func podsIn(t *testing.T, p push) (n int) {
	t.Helper()
	if len(p.resources) != 1 {
		t.Fatalf("%d resources", len(p.resources))
	}
	var a endpointv3.ClusterLoadAssignment
	if err := p.resources[0].UnmarshalTo(&a); err != nil {
		t.Fatal(err)
	}
	for _, l := range a.Endpoints {
		n += len(l.LbEndpoints)
	}
	return n
}

// comesBack starts a server that has run before, and has an extproc come back to it.
func comesBack(t *testing.T, ackTimeout, grace time.Duration) (srv *running, extproc *client, endpoints string) {
	t.Helper()
	srv = startServerWith(t, Options{Logger: zap.NewNop(), Observer: &observed{}, AckTimeout: ackTimeout, ReconnectGrace: grace, Boot: "b"})
	srv.config(t, testPod("a", 1), testPod("new", 2))
	endpoints = endpointsName(t, srv.Model())
	extproc = srv.client(t, "delta", "stateful-route-extproc")
	extproc.comeBack(resourcev3.ClusterType, "chat")
	extproc.comeBack(resourcev3.EndpointType, endpoints)
	await(t, "the extproc's requests", func() bool { return len(srv.sent("extproc")) == 2 })
	return srv, extproc, endpoints
}

// A server that was restarted with another pod: the extproc that comes back first hears of
// it when the Envoy that comes back has it.
func TestExtprocsThatComeBackHearNothingThatEnvoysHaveNot(t *testing.T) {
	protocols(t, func(t *testing.T, protocol string) {
		const long = time.Minute
		srv, extproc, endpoints := comesBack(t, long, long)
		envoy := srv.client(t, protocol, "envoy")
		envoy.ask(resourcev3.ClusterType)
		clusters := envoy.next()
		envoy.answer(clusters, clusters.version, "")
		envoy.ask(resourcev3.EndpointType, endpoints)
		pods := envoy.next()
		// What a third client is sent proves that the extproc would have been by now.
		fresh := srv.client(t, "delta", "stateful-route-extproc")
		fresh.ask(resourcev3.EndpointType, endpoints)
		fresh.next()
		if len(extproc.got) > 0 {
			t.Fatalf("the extproc was sent something before the Envoy had it: %v", srv.Clients())
		}
		envoy.answer(pods, pods.version, "")
		for range 2 {
			if p := extproc.next(); len(p.names) != 1 {
				t.Errorf("the extproc was sent %v", p.names)
			}
		}
	})
}

// Envoys that do not come back, and one that hangs, are waited for no longer than said.
func TestExtprocsThatComeBackAreAnsweredInTime(t *testing.T) {
	for name, hangs := range map[string]bool{"no Envoy": false, "an Envoy that hangs": true} {
		t.Run(name, func(t *testing.T) {
			ackTimeout, grace := time.Minute, 50*time.Millisecond
			if hangs {
				ackTimeout, grace = grace, ackTimeout
			}
			srv, extproc, endpoints := comesBack(t, ackTimeout, grace)
			if hangs {
				envoy := srv.client(t, "delta", "envoy")
				envoy.ask(resourcev3.EndpointType, endpoints)
				envoy.next()
			}
			extproc.next()
			extproc.next()
		})
	}
}

// A pod that leaves while an extproc is not answered yet stays with Envoys.
func TestWhatAnExtprocThatIsHeldMayChooseStays(t *testing.T) {
	srv, extproc, endpoints := comesBack(t, 50*time.Millisecond, time.Minute)
	srv.config(t, testPod("a", 1))
	envoy := srv.client(t, "delta", "envoy")
	envoy.ask(resourcev3.EndpointType, endpoints)
	pods := envoy.next()
	if n := podsIn(t, pods); n != 2 {
		t.Fatalf("the Envoy has %d pods, want the one on its way out, too", n)
	}
	envoy.answer(pods, pods.version, "")
	for range 2 {
		p := extproc.next()
		extproc.answer(p, p.version, "")
	}
	if n := podsIn(t, envoy.next()); n != 1 {
		t.Errorf("the Envoy has %d pods in the end", n)
	}
}
