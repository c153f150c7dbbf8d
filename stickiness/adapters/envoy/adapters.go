// Package envoy has the ways in which people keep sessions with Envoy alone.
//
// Pods are changed by the file of the endpoints, which Envoy follows. A reload of the
// rest is its hot restart.
package envoy

import (
	"context"
	_ "embed"

	"github.com/stateful-route/stateful-route/stickiness/adapters/envoyproc"
	"github.com/stateful-route/stateful-route/stickiness/adapters/fleet"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
)

var (
	//go:embed envoy.yaml.tmpl
	commonText string
	//go:embed pods.yaml.tmpl
	podsText string
	//go:embed cookie.yaml.tmpl
	cookieText string
	//go:embed cookie-strict.yaml.tmpl
	strictText string
	//go:embed ring.yaml.tmpl
	ringText string
	//go:embed maglev.yaml.tmpl
	maglevText string
)

const (
	docs           = "https://www.envoyproxy.io/docs/envoy/v1.40.0/"
	statefulDocs   = docs + "configuration/http/http_filters/stateful_session_filter"
	balancersDocs  = docs + "intro/arch_overview/upstream/load_balancing/load_balancers"
	dynamicDocs    = docs + "configuration/overview/xds_api#filesystem-subscriptions"
	hotRestartDocs = docs + "intro/arch_overview/operations/hot_restart"
	overrideDocs   = docs + "api-v3/config/cluster/v3/cluster.proto#config-cluster-v3-cluster-commonlbconfig"
)

// Adapters are all of them.
func Adapters() []gateway.Adapter {
	return []gateway.Adapter{
		cookie("envoy-cookie", "Envoy, stateful_session cookie as it comes: not strict", cookieText),
		cookie("envoy-cookie-strict", "Envoy, stateful_session cookie, strict, with override_host_status", strictText),
		hash("envoy-ring", "Envoy, ring hash of a header", ringText),
		hash("envoy-maglev", "Envoy, Maglev hash of a header", maglevText),
	}
}

func cookie(name, description, text string) gateway.Adapter {
	a := adapter(name, description, text)
	a.Key = gateway.Key{Kind: gateway.IssuedCookie, Name: "pod"}
	a.Documented = []string{statefulDocs, overrideDocs, dynamicDocs, hotRestartDocs}
	a.Without[gateway.ClientIDs] = "the cookie names a pod's address, not a session"
	a.Without[gateway.LongIDs] = "the cookie names a pod's address, not a session"
	return a
}

func hash(name, description, text string) gateway.Adapter {
	a := adapter(name, description, text)
	a.Key = gateway.Key{Kind: gateway.Header, Name: "x-session-id"}
	a.Documented = []string{balancersDocs, dynamicDocs, hotRestartDocs}
	a.Without[gateway.Drain] = "a pod that drains leaves the ring, and its sessions with it"
	return a
}

func adapter(name, description, text string) gateway.Adapter {
	configuration, pods := fleet.Template(commonText, text), fleet.Template(podsText)
	return gateway.Adapter{
		Name: name, Description: description,
		Without: map[gateway.Feature]string{gateway.ControlPlaneApart: "its pods come from a file"},
		Available: func(context.Context) error {
			_, err := envoyproc.Program.Path()
			return err
		},
		Start: func(ctx context.Context, o gateway.Options) (gateway.Gateway, error) {
			return fleet.New(ctx, o, 1, &product{configuration, pods, o.Health})
		},
	}
}
