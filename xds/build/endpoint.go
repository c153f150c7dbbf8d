package build

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/state"
)

// podPart is what a pod is to Envoy but for its weight. It is made and checked
// once, and shared by all load assignments that name the pod in that state.
type podPart struct {
	host   *endpointv3.LbEndpoint_Endpoint
	status corev3.HealthStatus
	meta   *corev3.Metadata
	// plain is the endpoint for those who read no weights.
	plain *endpointv3.LbEndpoint
}

func newPodPart(p statefulroute.Pod) (*podPart, error) {
	meta, err := wire.EncodePod(p)
	if err != nil {
		return nil, err
	}
	part := &podPart{
		host:   &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: addrPort(p.Address)}},
		status: healthStatus(p.State),
		meta: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
			wire.Namespace: meta, wire.LBNamespace: wire.BoundPod(p.Name),
		}},
	}
	part.plain = &endpointv3.LbEndpoint{HostIdentifier: part.host, HealthStatus: part.status, Metadata: part.meta}
	if err := part.plain.ValidateAll(); err != nil {
		return nil, fmt.Errorf("pod %q is not valid: %w", p.Name, err)
	}
	return part, nil
}

func (p *podPart) weighing(weight uint32) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{
		HostIdentifier: p.host, HealthStatus: p.status, Metadata: p.meta, LoadBalancingWeight: wrapperspb.UInt32(weight),
	}
}

// buildEndpoints is a service's load assignment under its cluster's EDS name:
// one locality per zone, every pod named and with its state in its metadata.
// Extprocs are told no weights of the moment: they read the configured ones.
func (b *Builder) buildEndpoints(name string, svc *state.ServiceView, to wire.ClientType) (*endpointv3.ClusterLoadAssignment, error) {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	members := slices.Clone(svc.Members)
	slices.SortFunc(members, func(a, b state.Member) int {
		return cmp.Or(cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.Name, b.Name), a.Address.Compare(b.Address))
	})
	weigh := weigher(members)
	for _, m := range members {
		part, err := b.part(svc.Name, m.Pod)
		if err != nil {
			return nil, err
		}
		endpoint := part.plain
		if to == wire.Envoy {
			endpoint = part.weighing(weigh(m))
		}
		locality := lastLocality(out, m.Zone)
		locality.LbEndpoints = append(locality.LbEndpoints, endpoint)
	}
	return out, nil
}

// lastLocality returns the assignment's last locality if it is the zone's, or
// a new one.
func lastLocality(out *endpointv3.ClusterLoadAssignment, zone string) *endpointv3.LocalityLbEndpoints {
	if n := len(out.Endpoints); n > 0 && out.Endpoints[n-1].Locality.GetZone() == zone {
		return out.Endpoints[n-1]
	}
	l := &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Zone: zone}}
	out.Endpoints = append(out.Endpoints, l)
	return l
}

func healthStatus(s statefulroute.PodState) corev3.HealthStatus {
	switch s {
	case statefulroute.Ready:
		return corev3.HealthStatus_HEALTHY
	case statefulroute.Draining:
		return corev3.HealthStatus_DRAINING
	default:
		return corev3.HealthStatus_UNHEALTHY
	}
}

// weigher returns the members' weights for Envoy: at least 1 each, and scaled
// down where they would be more together than Envoy accepts. What somebody wrote
// is checked by checkWeights; what the load made of it, and pods that are on
// their way out beside those that are coming, must never be a reason to tell
// Envoys nothing any more.
func weigher(members []state.Member) func(state.Member) uint32 {
	var sum uint64
	for _, m := range members {
		sum += uint64(max(m.EffectiveWeight, 1))
	}
	if sum <= math.MaxUint32 {
		return func(m state.Member) uint32 { return max(m.EffectiveWeight, 1) }
	}
	room := uint64(math.MaxUint32 - len(members))
	return func(m state.Member) uint32 { return 1 + uint32(uint64(m.EffectiveWeight)*room/sum) }
}

// checkWeights keeps the limit Envoy refuses a whole assignment for.
func checkWeights(svc *state.ServiceView) error {
	var sum uint64
	for _, m := range svc.Members {
		sum += uint64(m.Weight)
	}
	if sum > math.MaxUint32 {
		return fmt.Errorf("the weights of service %q add up to %d, more than %d", svc.Name, sum, uint32(math.MaxUint32))
	}
	return nil
}
