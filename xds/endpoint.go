package xds

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
	"github.com/stateful-route/stateful-route/policy"
)

// buildEndpoints is a service's load assignment under its cluster's EDS name:
// one locality per zone, every pod named and with its state in its metadata.
func buildEndpoints(name string, svc ServiceView) (*endpointv3.ClusterLoadAssignment, error) {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	members := slices.Clone(svc.Members)
	slices.SortFunc(members, func(a, b Member) int {
		return cmp.Or(cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.Name, b.Name), a.Address.Compare(b.Address))
	})
	for _, m := range members {
		endpoint, err := buildEndpoint(m)
		if err != nil {
			return nil, err
		}
		locality := lastLocality(out, m.Zone)
		locality.LbEndpoints = append(locality.LbEndpoints, endpoint)
	}
	return out, checkWeights(svc)
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

func buildEndpoint(m Member) (*endpointv3.LbEndpoint, error) {
	meta, err := policy.EncodePod(m.Pod)
	if err != nil {
		return nil, err
	}
	return &endpointv3.LbEndpoint{
		HostIdentifier:      &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: addrPort(m.Address)}},
		HealthStatus:        healthStatus(m.State),
		LoadBalancingWeight: wrapperspb.UInt32(max(m.EffectiveWeight, 1)),
		Metadata:            &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{policy.Namespace: meta}},
	}, nil
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

// checkWeights keeps the limit Envoy refuses a whole assignment for.
func checkWeights(svc ServiceView) error {
	var sum uint64
	for _, m := range svc.Members {
		sum += uint64(m.EffectiveWeight)
	}
	if sum > math.MaxUint32 {
		return fmt.Errorf("the weights of service %q add up to %d, more than %d", svc.Name, sum, uint32(math.MaxUint32))
	}
	return nil
}
