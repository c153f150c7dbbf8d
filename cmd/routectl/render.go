package main

import (
	"encoding/json"
	"fmt"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/stateful-route/stateful-route/xds"
	"github.com/stateful-route/stateful-route/xds/build"
)

func (c *ctl) renderCommand() *cobra.Command {
	return group("render", "Show what a configuration becomes", &cobra.Command{
		Use: "xds FILE", Short: "Print, as JSON, the resources that Envoy would get from a configuration of xds-server",
		Long: `Print, as JSON, the resources that Envoy would get from a configuration of
xds-server: by type (lds, rds, cds, eds) and by name. Nothing is asked of a
server. Pods of DNS and HTTP sources are asked for; without an answer they are missing.`,
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
}

func render(r build.Resources) (out rendered, err error) {
	for _, t := range []struct {
		url  string
		into *map[string]json.RawMessage
	}{
		{resourcev3.ListenerType, &out.Listeners}, {resourcev3.RouteType, &out.Routes},
		{resourcev3.ClusterType, &out.Clusters}, {resourcev3.EndpointType, &out.Endpoints},
	} {
		if *t.into, err = asJSON(r[t.url]); err != nil {
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
