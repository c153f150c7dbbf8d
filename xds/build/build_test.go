package build

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/state"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

// The golden files are what Envoy gets for testdata/*.yaml, one per type.
func TestGoldenResources(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.yaml")
	if len(files) < 3 {
		t.Fatalf("found %d configurations", len(files))
	}
	t.Setenv("SSL_CERT_FILE", "testdata/chat.pem")
	for _, file := range files {
		cfg, err := config.LoadXDSServer(file)
		if err != nil {
			t.Fatal(err)
		}
		store := state.NewStore()
		store.SetConfig(t0, state.GatewayOf(cfg.Envoy), cfg.Services)
		resources, err := All(store.Model())
		if err != nil {
			t.Fatal(err)
		}
		for short, typeURL := range map[string]string{
			"lds": resourcev3.ListenerType, "rds": resourcev3.RouteType, "cds": resourcev3.ClusterType, "eds": resourcev3.EndpointType,
		} {
			name := strings.TrimSuffix(file, ".yaml") + "." + short + ".json"
			t.Run(filepath.Base(name), func(t *testing.T) { golden(t, name, asJSON(t, resources, typeURL)) })
		}
	}
}

// The same, but for the filters, is what an Envoy gets that has the module.
func TestGoldenListenersWithTheModule(t *testing.T) {
	cfg, err := config.LoadXDSServer("testdata/wide.yaml")
	if err != nil {
		t.Fatal(err)
	}
	store := state.NewStore()
	store.SetConfig(t0, state.GatewayOf(cfg.Envoy), cfg.Services)
	listeners, err := Listeners(store.Model(), FastPath{Module: "/usr/lib/libstateful_route.so", Table: "/dev/shm/stateful-route"})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/wide.module.lds.json", asJSON(t, Resources{resourcev3.ListenerType: listeners}, resourcev3.ListenerType))
	without, err := Listeners(store.Model(), FastPath{})
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/wide.lds.json", asJSON(t, Resources{resourcev3.ListenerType: without}, resourcev3.ListenerType))
}

func asJSON(t *testing.T, r Resources, typeURL string) []byte {
	t.Helper()
	all := map[string]json.RawMessage{}
	for name, res := range r[typeURL] {
		raw, err := protojson.Marshal(res)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = raw
	}
	out, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(out, '\n')
}

func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from what is built now (go test ./xds/build -rewrite writes it anew):\n%s", file, got)
	}
}

func TestTheSameModelGivesTheSameBytes(t *testing.T) {
	model := testModel(testPod("a", 1), testPod("b", 2))
	first, err := All(model)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		again, err := All(model)
		if err != nil {
			t.Fatal(err)
		}
		for typeURL := range first {
			same := func(a, b types.Resource) bool { return proto.Equal(a, b) }
			if !maps.EqualFunc(first[typeURL], again[typeURL], same) {
				t.Fatalf("%s differs: %v and %v", typeURL, first[typeURL], again[typeURL])
			}
		}
	}
}

// Clusters, and what pods are but for their weights, are used again: a second's
// weights make none of them anew, nor does a pod that is back as it was.
func TestWhatStaysAsItWasIsMadeOnce(t *testing.T) {
	b, svc := NewBuilder(), testModel(testPod("a", 1), testPod("b", 2)).Services[0]
	build := func(edit func(*state.Member)) (*clusterv3.Cluster, []*endpointv3.LbEndpoint) {
		members := slices.Clone(svc.Members)
		edit(&members[0])
		out, err := b.Service(svc.WithMembers(members), wire.Envoy)
		if err != nil {
			t.Fatal(err)
		}
		b.Trim(svc.Name)
		return out.Cluster, out.Endpoints.Endpoints[0].LbEndpoints
	}
	cluster, before := build(func(*state.Member) {})
	build(func(m *state.Member) { m.State = statefulroute.Unhealthy })
	again, after := build(func(m *state.Member) { m.EffectiveWeight = 70 })
	if again != cluster {
		t.Error("the cluster was made anew")
	}
	for i := range before {
		if before[i].Metadata != after[i].Metadata || before[i].HostIdentifier != after[i].HostIdentifier {
			t.Errorf("pod %d was made anew", i)
		}
	}
	if w := after[0].LoadBalancingWeight.GetValue(); w != 70 {
		t.Errorf("the weight is %d", w)
	}
}

// With delta ADS a changed cluster under an unchanged EDS name warms for 15 s.
func TestAChangedClusterChangesItsEndpointsName(t *testing.T) {
	edsName := func(m state.Model) string {
		r, err := All(m)
		if err != nil {
			t.Fatal(err)
		}
		return r[resourcev3.ClusterType]["chat"].(*clusterv3.Cluster).EdsClusterConfig.ServiceName
	}
	model := testModel(testPod("a", 1))
	before := edsName(model)
	morePods := testModel(testPod("a", 1), testPod("b", 2))
	if got := edsName(morePods); got != before {
		t.Errorf("pods alone changed the cluster: %s, %s", before, got)
	}
	model.Services[0].Session.IdleTimeout = time.Minute
	if got := edsName(model); got == before {
		t.Errorf("the policy changed but the name %s stayed", got)
	}
}

func TestWhatEnvoyWouldRefuseIsAnError(t *testing.T) {
	heavy := testModel(testPod("a", 1), testPod("b", 2))
	for i := range heavy.Services[0].Members {
		heavy.Services[0].Members[i].Weight = 1 << 31
	}
	badListener := testModel(testPod("a", 1))
	badListener.Gateway.Listeners = []state.Listener{{Address: "localhost:80"}}
	badExtproc := testModel(testPod("a", 1))
	badExtproc.Gateway.Extprocs = []string{"nowhere"}
	slow := testModel(testPod("a", 1))
	slow.Gateway.MessageTimeout = 2 * time.Hour // inside the listener's filter, which Envoy's rules of a listener do not look into
	unnamed := testModel()
	unnamed.Services[0].Name = ""
	for want, m := range map[string]state.Model{
		`the weights of service "chat" add up to 4294967296`: heavy,
		"envoy.listener":                            badListener,
		"envoy.extproc.address":                     badExtproc,
		`resource "ExternalProcessor" is not valid`: slow,
		"is not valid":                              unnamed,
	} {
		if _, err := All(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestHostsAndPrefixesPickTheMostSpecificService(t *testing.T) {
	services := map[string]struct {
		hosts  []string
		prefix string
	}{
		"any":      {[]string{"*"}, "/"},
		"any-api":  {[]string{"*"}, "/api"},
		"suffix":   {[]string{"*.example.com"}, "/"},
		"exact":    {[]string{"chat.example.com"}, "/rooms"},
		"deep":     {[]string{"chat.example.com"}, "/rooms/big"},
		"two-ways": {[]string{"*", "solo.test"}, "/solo"},
	}
	model := state.Model{Gateway: testGateway()}
	for _, name := range []string{"any", "any-api", "suffix", "exact", "deep", "two-ways"} {
		svc := testService(name)
		svc.Hosts, svc.Prefix = services[name].hosts, services[name].prefix
		model.Services = append(model.Services, &state.ServiceView{Service: svc})
	}
	got := map[string][]string{}
	for _, v := range mustRoutes(t, model).VirtualHosts {
		for _, r := range v.Routes {
			got[v.Name] = append(got[v.Name], r.Name)
		}
	}
	want := map[string]string{
		"*":                "two-ways any-api any",
		"*.example.com":    "suffix two-ways any-api any",
		"chat.example.com": "deep exact suffix two-ways any-api any",
		"solo.test":        "two-ways any-api any",
	}
	for host, order := range want {
		if strings.Join(got[host], " ") != order {
			t.Errorf("%s: got %v, want %s", host, got[host], order)
		}
	}
	if len(got) != len(want) {
		t.Errorf("virtual hosts: %v", got)
	}
}

func mustRoutes(t *testing.T, m state.Model) *routev3.RouteConfiguration {
	t.Helper()
	routes, err := buildRoutes(m)
	if err != nil {
		t.Fatal(err)
	}
	return routes
}

func TestAPrefixMatchesWholeSegments(t *testing.T) {
	if m := routeMatch("/v1"); m.GetPathSeparatedPrefix() != "/v1" {
		t.Errorf("/v1 would match /v10: %v", m)
	}
	if m := routeMatch("/"); m.GetPrefix() != "/" {
		t.Errorf("/: %v", m)
	}
}

func TestOnlyADenyingServiceNeedsADecision(t *testing.T) {
	svc := testService("chat")
	allow, err := perFilterConfig(state.Gateway{}, svc)
	if err != nil {
		t.Fatal(err)
	}
	svc.Session.OnExtprocLoss = statefulroute.Deny
	deny, err := perFilterConfig(state.Gateway{}, svc)
	if err != nil {
		t.Fatal(err)
	}
	if allow[filterDenyUndecided] != nil || deny[filterDenyUndecided] == nil {
		t.Errorf("allow: %v, deny: %v", allow, deny)
	}
}

// Envoy's router forgets the pod it was told when it tries again: where requests
// may be bound, a retry of the route's own would be another pod's answer.
func TestWhereRequestsMayBeBoundTheRouteItselfRetriesNone(t *testing.T) {
	sticky, plain := testService("chat"), testService("files")
	plain.Session.Key = nil
	route, err := buildRoute(state.Gateway{}, sticky)
	if err != nil {
		t.Fatal(err)
	}
	if p := route.GetRoute().GetRetryPolicy(); p.GetRetryOn() != "" || p.GetNumRetries().GetValue() != wire.BoundRetries {
		t.Errorf("a service with sessions is retried %v", p)
	}
	early, err := earlyMutation(state.Model{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"x-envoy-retry-on", "x-envoy-retry-grpc-on", "x-envoy-max-retries"} {
		if !strings.Contains(string(early.GetTypedConfig().GetValue()), name) {
			t.Errorf("a client may ask for retries by %s", name)
		}
	}
	if route, err = buildRoute(state.Gateway{}, plain); err != nil {
		t.Fatal(err)
	}
	if p := route.GetRoute().GetRetryPolicy(); p.GetRetryOn() != wire.RetryOn || p.GetNumRetries().GetValue() != wire.UnboundRetries {
		t.Errorf("a service without sessions is retried %v", p)
	}
}

// A bound request that is tried again goes to the endpoint of its pod's name or nowhere,
// and only once extproc has confirmed that. Services without sessions pay for neither.
func TestRetriesOfBoundRequestsArePinnedAndConfirmed(t *testing.T) {
	sticky, plain := testService("chat"), testService("files")
	plain.Session.Key = nil
	for _, svc := range []statefulroute.Service{sticky, plain} {
		c, err := buildCluster(&state.ServiceView{Service: svc})
		if err != nil {
			t.Fatal(err)
		}
		var options httpv3.HttpProtocolOptions
		if err := c.GetTypedExtensionProtocolOptions()["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].UnmarshalTo(&options); err != nil {
			t.Fatal(err)
		}
		pinned, confirmed := c.GetLbSubsetConfig() != nil, len(options.GetHttpFilters()) == 2
		if want := len(svc.Session.Key) > 0; pinned != want || confirmed != want {
			t.Errorf("%s: pinned %v, confirmed %v", svc.Name, pinned, confirmed)
		}
		for _, s := range c.GetLbSubsetConfig().GetSubsetSelectors() {
			if s.GetFallbackPolicy() != clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector_NO_FALLBACK || !s.GetSingleHostPerSubset() {
				t.Errorf("a request whose pod is gone goes elsewhere: %v", s)
			}
		}
	}
}

// Of all that a client may offer only a WebSocket is not ignored.
func TestEveryUpgradeButAWebSocketIsIgnored(t *testing.T) {
	ignored := regexp.MustCompile(`\A(?:` + anythingBut(websocket) + `)\z`)
	for offer, want := range map[string]bool{
		"websocket": false, "WebSocket": false, "WEBSOCKET": false,
		"": true, "web": true, "websockets": true, "websocket/13": true, "TLS/1.2": true, "h2c": true, "HTTP/2.0": true, "wébsocket": true, "websockex": true, "a\nb": true,
	} {
		if got := ignored.MatchString(offer); got != want {
			t.Errorf("%q ignored: %v, want %v", offer, got, want)
		}
	}
}
