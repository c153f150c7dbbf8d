package main

import (
	"encoding/json"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/stateful-route/stateful-route/xds"
	"github.com/stateful-route/stateful-route/xds/build"
)

func (c *ctl) renderCommand() *cobra.Command {
	return group("render", "Show what a configuration becomes", &cobra.Command{
		Use: "xds FILE", Short: "Print, as JSON, the resources that Envoy would get from a configuration of xds-server",
		Long: `Print, as JSON, the resources that Envoy would get from a configuration of
xds-server: by type (lds, rds, cds, eds, sds) and by name; of secrets, private
keys are not shown. Nothing is asked of a server. Pods of DNS and HTTP sources are asked for; without an answer they are missing.`,
		Args: takes(1, "FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			built, err := xds.Preview(cmd.Context(), args[0], c.Extensions.Config()...)
			if err != nil {
				return err
			}
			rendered, err := render(built)
			if err != nil {
				return err
			}
			return writeJSON(c.Stdout, rendered)
		},
	})
}

// rendered is the resources of each type by name.
type rendered struct {
	Listeners map[string]json.RawMessage `json:"lds"`
	Routes    map[string]json.RawMessage `json:"rds"`
	Clusters  map[string]json.RawMessage `json:"cds"`
	Endpoints map[string]json.RawMessage `json:"eds"`
	Secrets   map[string]json.RawMessage `json:"sds"`
}

// withoutKeys are secrets as they may be shown.
func withoutKeys(secrets map[string]types.Resource) map[string]types.Resource {
	out := make(map[string]types.Resource, len(secrets))
	for name, res := range secrets {
		shown := proto.Clone(res).(*tlsv3.Secret)
		if cert := shown.GetTlsCertificate(); cert != nil {
			cert.PrivateKey = &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: "[redacted]"}} // as Envoy's config_dump has it
		}
		out[name] = shown
	}
	return out
}

func render(r build.Resources) (out rendered, err error) {
	for _, t := range []struct {
		from map[string]types.Resource
		into *map[string]json.RawMessage
	}{
		{r[resourcev3.ListenerType], &out.Listeners}, {r[resourcev3.RouteType], &out.Routes},
		{r[resourcev3.ClusterType], &out.Clusters}, {r[resourcev3.EndpointType], &out.Endpoints},
		{withoutKeys(r[resourcev3.SecretType]), &out.Secrets},
	} {
		if *t.into, err = asJSON(t.from); err != nil {
			return rendered{}, err
		}
	}
	return out, nil
}

func asJSON(resources map[string]types.Resource) (map[string]json.RawMessage, error) {
	out := make(map[string]json.RawMessage, len(resources))
	for name, res := range resources {
		raw, err := protojson.Marshal(res)
		if err != nil {
			return nil, fmt.Errorf("resource %q: %w", name, err)
		}
		out[name] = raw
	}
	return out, nil
}
