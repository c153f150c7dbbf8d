package build

import (
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/state"
)

// Resources are Envoy's resources by name, one map per type URL.
type Resources map[string]map[string]types.Resource

// NewResources returns empty maps for all types.
func NewResources() Resources {
	return Resources{
		resourcev3.ListenerType: {}, resourcev3.RouteType: {},
		resourcev3.ClusterType: {}, resourcev3.EndpointType: {},
		resourcev3.SecretType: {},
	}
}

// All makes the resources of a model. It is pure: the same model gives the
// same bytes. What Envoy would refuse is an error here, before any push.
func All(m state.Model) (Resources, error) {
	r, err := Shared(m)
	if err != nil {
		return nil, err
	}
	b := NewBuilder()
	for _, svc := range m.Services {
		built, err := b.Target(svc)
		if err != nil {
			return nil, err
		}
		r[resourcev3.ClusterType][svc.Name] = built.Cluster
		r[resourcev3.EndpointType][built.Endpoints.ClusterName] = built.Endpoints
	}
	return r, nil
}

// Shared makes the resources that are not a service's own, for Envoys without a fast path.
func Shared(m state.Model) (Resources, error) {
	r := NewResources()
	listeners, err := buildListeners(m, FastPath{})
	if err != nil {
		return nil, err
	}
	routes, err := buildRoutes(m)
	if err != nil {
		return nil, err
	}
	extprocs, err := buildExtprocCluster(m.Gateway)
	if err != nil {
		return nil, err
	}
	r[resourcev3.ListenerType] = listeners
	r[resourcev3.SecretType] = buildSecrets(m.Gateway.Secrets)
	r[resourcev3.RouteType][routesName] = routes
	if !m.Gateway.DebugHeaders {
		r[resourcev3.RouteType][moduleRoutesName] = cleanedByModule(routes)
	}
	r[resourcev3.ClusterType][extprocCluster] = extprocs
	if m.Gateway.Tracing.OTLP != "" {
		if r[resourcev3.ClusterType][otlpCluster], err = buildOTLPCluster(m.Gateway.Tracing); err != nil {
			return nil, err
		}
	}
	return r, r.validate()
}

// validate runs the checks generated from Envoy's own API rules.
func (r Resources) validate() error {
	for _, resources := range r {
		for name, res := range resources {
			if err := validate(name, res); err != nil {
				return err
			}
		}
	}
	return nil
}

func validate(name string, res proto.Message) error {
	if v, ok := res.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			return fmt.Errorf("resource %q is not valid: %w", name, err)
		}
	}
	return nil
}

// Builder makes the resources of services and remembers what it can use again:
// clusters, which change with a service's policy only, and what pods are but for
// their weights. So a change costs what it changes. Its owner is one goroutine.
type Builder struct {
	services map[string]*builtService
}

// builtService is what is remembered of a service.
type builtService struct {
	clusters []builtCluster // at most two: of a policy and of the one before
	parts    map[statefulroute.Pod]*podPart
	last     map[wire.ClientType]Built
}

type builtCluster struct {
	view    *state.ServiceView // whose policy it is
	cluster *clusterv3.Cluster
}

// Built are a service's own resources.
type Built struct {
	view      *state.ServiceView
	Cluster   *clusterv3.Cluster
	Endpoints *endpointv3.ClusterLoadAssignment
}

// NewBuilder returns a builder that remembers nothing.
func NewBuilder() *Builder { return &Builder{services: map[string]*builtService{}} }

// Target returns the resources that Envoys are to have of a service in the end.
func (b *Builder) Target(svc *state.ServiceView) (Built, error) {
	if err := checkWeights(svc); err != nil {
		return Built{}, fmt.Errorf("service %q: %w", svc.Name, err)
	}
	return b.Service(svc, wire.Envoy)
}

// Service returns the resources of a service, checked by the rules of Envoy's
// API.
func (b *Builder) Service(svc *state.ServiceView, to wire.ClientType) (Built, error) {
	s := b.of(svc.Name)
	if last := s.last[to]; last.view == svc {
		return last, nil
	}
	out, err := b.build(svc, to)
	if err != nil {
		return Built{}, fmt.Errorf("service %q: %w", svc.Name, err)
	}
	s.last[to] = out
	return out, nil
}

func (b *Builder) build(svc *state.ServiceView, to wire.ClientType) (Built, error) {
	cluster, err := b.cluster(svc)
	if err != nil {
		return Built{}, err
	}
	endpoints, err := b.buildEndpoints(cluster.EdsClusterConfig.ServiceName, svc, to)
	return Built{svc, cluster, endpoints}, err
}

func (b *Builder) of(service string) *builtService {
	s := b.services[service]
	if s == nil {
		s = &builtService{parts: map[statefulroute.Pod]*podPart{}, last: map[wire.ClientType]Built{}}
		b.services[service] = s
	}
	return s
}

// Forget drops what is remembered of a service.
func (b *Builder) Forget(service string) { delete(b.services, service) }

// cluster returns the same pointer for as long as the policy is the same.
func (b *Builder) cluster(svc *state.ServiceView) (*clusterv3.Cluster, error) {
	s := b.of(svc.Name)
	for _, c := range s.clusters {
		if c.view.SamePolicy(svc) {
			return c.cluster, nil
		}
	}
	cluster, err := buildCluster(svc)
	if err != nil {
		return nil, err
	}
	if err := validate(svc.Name, cluster); err != nil {
		return nil, err
	}
	s.clusters = append([]builtCluster{{svc, cluster}}, s.clusters...)
	s.clusters = s.clusters[:min(len(s.clusters), 2)]
	return cluster, nil
}

func (b *Builder) part(service string, pod statefulroute.Pod) (*podPart, error) {
	s := b.of(service)
	if part := s.parts[pod]; part != nil {
		return part, nil
	}
	part, err := newPodPart(pod)
	if err != nil {
		return nil, err
	}
	s.parts[pod] = part
	return part, nil
}

// Trim forgets what pods were that are not so any more. It may be called now and
// then: what is forgotten is made again.
func (b *Builder) Trim(service string) {
	s := b.of(service)
	members := 0
	for _, last := range s.last {
		members += len(last.view.Members)
	}
	if len(s.parts) <= 2*members+8 {
		return
	}
	used := make(map[statefulroute.Pod]*podPart, members)
	for _, last := range s.last {
		for _, m := range last.view.Members {
			if part := s.parts[m.Pod]; part != nil {
				used[m.Pod] = part
			}
		}
	}
	s.parts = used
}
