package xds

import (
	"fmt"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// Resources are Envoy's resources by name, one map per type URL.
type Resources map[string]map[string]types.Resource

// Build makes the resources of a model. It is pure: the same model gives the
// same bytes. What Envoy would refuse is an error here, before any push.
func Build(m Model) (Resources, error) {
	r := Resources{
		resourcev3.ListenerType: {}, resourcev3.RouteType: {},
		resourcev3.ClusterType: {}, resourcev3.EndpointType: {},
	}
	listener, err := buildListener(m)
	if err != nil {
		return nil, err
	}
	routes, err := buildRoutes(m)
	if err != nil {
		return nil, err
	}
	extprocs, err := buildExtprocCluster(m.Gateway.Extprocs)
	if err != nil {
		return nil, err
	}
	r[resourcev3.ListenerType][listenerName] = listener
	r[resourcev3.RouteType][routesName] = routes
	r[resourcev3.ClusterType][ExtprocCluster] = extprocs
	if m.Gateway.Tracing.OTLP != "" {
		if r[resourcev3.ClusterType][OTLPCluster], err = buildOTLPCluster(m.Gateway.Tracing); err != nil {
			return nil, err
		}
	}
	for _, svc := range m.Services {
		if err := r.addService(svc); err != nil {
			return nil, fmt.Errorf("service %q: %w", svc.Name, err)
		}
	}
	return r, r.validate()
}

func (r Resources) addService(svc ServiceView) error {
	cluster, err := buildCluster(svc)
	if err != nil {
		return err
	}
	name := cluster.EdsClusterConfig.ServiceName
	endpoints, err := buildEndpoints(name, svc)
	if err != nil {
		return err
	}
	r[resourcev3.ClusterType][svc.Name] = cluster
	r[resourcev3.EndpointType][name] = endpoints
	return nil
}

// validate runs the checks generated from Envoy's own API rules.
func (r Resources) validate() error {
	for _, resources := range r {
		for name, res := range resources {
			if v, ok := res.(interface{ ValidateAll() error }); ok {
				if err := v.ValidateAll(); err != nil {
					return fmt.Errorf("resource %q is not valid: %w", name, err)
				}
			}
		}
	}
	return nil
}

// forExtproc keeps the types extproc reads: clusters for policy, endpoints for pods.
func (r Resources) forExtproc() Resources {
	clusters := make(map[string]types.Resource, len(r[resourcev3.ClusterType]))
	for name, c := range r[resourcev3.ClusterType] {
		if name != ExtprocCluster && name != OTLPCluster {
			clusters[name] = c
		}
	}
	return Resources{resourcev3.ClusterType: clusters, resourcev3.EndpointType: r[resourcev3.EndpointType]}
}
