package envoy

import (
	"bytes"
	"context"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"pgregory.net/rapid"

	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/internal/envoybin"
	"github.com/stateful-route/stateful-route/xds"
	"github.com/stateful-route/stateful-route/xds/build"
)

var configurations = flag.Int("configurations", 25, "how many that --check passes are shown to Envoy")

// What the configuration's own rules pass breaks no rule of Envoy's API: those are a
// net below the rules, and say neither line nor field.
func TestRulesOfEnvoysAPIAreRulesOfTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	writeCertificates(t, dir)
	t.Setenv("SSL_CERT_FILE", filepath.Join(dir, "ca.pem")) // the system's are many, and read for each
	file := filepath.Join(dir, "xds-server.yaml")
	passed, all := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		text := anyConfiguration().Draw(rt, "configuration")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			rt.Fatal(err)
		}
		all++
		if _, err := config.LoadXDSServer(file); err != nil {
			return
		}
		passed++
		if _, err := xds.Preview(context.Background(), file); err != nil {
			rt.Fatalf("%v\n%s", err, text)
		}
	})
	t.Logf("%d of %d passed", passed, all)
	if passed < all/50 { // most of what is made at random breaks a rule
		t.Errorf("only %d of %d configurations passed: the test shows little", passed, all)
	}
}

// What --check passes, a real Envoy takes.
func TestEnvoyTakesWhatCheckPasses(t *testing.T) {
	bin, err := envoybin.Find(context.Background(), envoybin.FindOptions{Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, bootstrap := filepath.Join(dir, "xds-server.yaml"), filepath.Join(dir, "envoy.json")
	writeCertificates(t, dir)
	t.Setenv("SSL_CERT_FILE", filepath.Join(dir, "ca.pem"))
	shown := 0
	for seed := 0; shown < *configurations; seed++ {
		text := anyConfiguration().Example(seed)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		resources, err := xds.Preview(context.Background(), file)
		if err != nil {
			continue
		}
		shown++
		if err := os.WriteFile(bootstrap, asBootstrap(t, resources), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), bin.Path, "--mode", "validate", "--config-path", bootstrap, "--use-dynamic-base-id", "--log-level", "error").CombinedOutput()
		if err != nil || bytes.Contains(out, []byte("[error]")) {
			t.Errorf("Envoy refuses configuration %d: %v\n%s\n%s", seed, err, out, text)
		}
	}
}

// asBootstrap is a bootstrap that holds all resources, so that Envoy looks at them
// without a server that sends them: routes are the listener's own, pods the clusters'.
func asBootstrap(t *testing.T, r build.Resources) []byte {
	t.Helper()
	static := &bootstrapv3.Bootstrap_StaticResources{}
	for _, name := range slices.Sorted(maps.Keys(r[resourcev3.ListenerType])) {
		listener := r[resourcev3.ListenerType][name].(*listenerv3.Listener)
		static.Listeners = append(static.Listeners, withRoutes(t, listener, r[resourcev3.RouteType]["stateful-route"].(*routev3.RouteConfiguration)))
	}
	for _, name := range slices.Sorted(maps.Keys(r[resourcev3.ClusterType])) {
		cluster := r[resourcev3.ClusterType][name].(*clusterv3.Cluster)
		if eds := cluster.EdsClusterConfig; eds != nil {
			cluster.LoadAssignment = r[resourcev3.EndpointType][eds.ServiceName].(*endpointv3.ClusterLoadAssignment)
			cluster.ClusterDiscoveryType, cluster.EdsClusterConfig = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}, nil
		}
		if socket := cluster.TransportSocket; socket != nil {
			withStaticSecrets(t, socket, &tlsv3.UpstreamTlsContext{})
		}
		static.Clusters = append(static.Clusters, cluster)
	}
	for _, name := range slices.Sorted(maps.Keys(r[resourcev3.SecretType])) {
		static.Secrets = append(static.Secrets, r[resourcev3.SecretType][name].(*tlsv3.Secret))
	}
	out, err := protojson.Marshal(&bootstrapv3.Bootstrap{Node: &corev3.Node{Id: "check", Cluster: "check"}, StaticResources: static})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func withRoutes(t *testing.T, l *listenerv3.Listener, routes *routev3.RouteConfiguration) *listenerv3.Listener {
	t.Helper()
	for _, chain := range l.FilterChains {
		var manager hcmv3.HttpConnectionManager
		if err := chain.Filters[0].GetTypedConfig().UnmarshalTo(&manager); err != nil {
			t.Fatal(err)
		}
		manager.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: routes}
		typed, err := anypb.New(&manager)
		if err != nil {
			t.Fatal(err)
		}
		chain.Filters = []*listenerv3.Filter{{Name: chain.Filters[0].Name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: typed}}}
		if socket := chain.TransportSocket; socket != nil {
			withStaticSecrets(t, socket, &tlsv3.DownstreamTlsContext{})
		}
	}
	return l
}

// withStaticSecrets has a socket find its secrets, by their names, in the bootstrap.
func withStaticSecrets(t *testing.T, socket *corev3.TransportSocket, of interface {
	proto.Message
	GetCommonTlsContext() *tlsv3.CommonTlsContext
}) {
	t.Helper()
	if err := socket.GetTypedConfig().UnmarshalTo(of); err != nil {
		t.Fatal(err)
	}
	common := of.GetCommonTlsContext()
	for _, c := range common.GetTlsCertificateSdsSecretConfigs() {
		c.SdsConfig = nil
	}
	if c := common.GetCombinedValidationContext().GetValidationContextSdsSecretConfig(); c != nil {
		c.SdsConfig = nil
	}
	typed, err := anypb.New(of)
	if err != nil {
		t.Fatal(err)
	}
	socket.ConfigType = &corev3.TransportSocket_TypedConfig{TypedConfig: typed}
}
