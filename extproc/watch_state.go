package extproc

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/policy"
)

// Type URLs of what extproc asks xds-server for.
const (
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
)

// ServiceState is one service as xds-server last described it.
type ServiceState struct {
	Service statefulroute.Service
	Pods    []statefulroute.Pod
}

// watchState is what the delta streams of CDS and EDS have told so far. It is a
// plain state machine: responses go in, the services in force and the
// subscriptions that follow come out. It outlives a stream, so a new one
// resumes from the versions held.
type watchState struct {
	// check refuses a service that this extproc cannot serve (unknown
	// strategy, bad pattern); it makes the response a NACK.
	check func(statefulroute.Service) error

	clusters    map[string]clusterState
	assignments map[string]assignmentState
	// inForce maps a service to the assignment it uses: the one its cluster
	// names or, until that has arrived, the one used before.
	inForce map[string]string
	// gotClusters is set by the first accepted CDS response.
	gotClusters bool
}

type clusterState struct {
	version    string
	service    statefulroute.Service
	assignment string // EDS resource name
}

type assignmentState struct {
	version string
	pods    []statefulroute.Pod
}

func newWatchState(check func(statefulroute.Service) error) *watchState {
	return &watchState{
		check:       check,
		clusters:    map[string]clusterState{},
		assignments: map[string]assignmentState{},
		inForce:     map[string]string{},
	}
}

// apply takes one response whole, or returns why it is refused and changes
// nothing.
func (s *watchState) apply(r *discoveryv3.DeltaDiscoveryResponse) error {
	switch r.GetTypeUrl() {
	case clusterType:
		return s.applyClusters(r)
	case endpointType:
		return s.applyAssignments(r)
	}
	return fmt.Errorf("resource type %q was not asked for", r.GetTypeUrl())
}

func (s *watchState) applyClusters(r *discoveryv3.DeltaDiscoveryResponse) error {
	next := maps.Clone(s.clusters)
	for _, name := range r.GetRemovedResources() {
		delete(next, name)
	}
	for _, res := range r.GetResources() {
		c, ours, err := s.decodeCluster(res)
		switch {
		case err != nil:
			return err
		case !ours:
			delete(next, res.GetName())
		default:
			next[res.GetName()] = c
		}
	}
	s.clusters, s.gotClusters = next, true
	s.settle()
	return nil
}

// decodeCluster reports ours = false for a cluster without our metadata:
// Envoy's own way to xds-server or extproc, not a service.
func (s *watchState) decodeCluster(res *discoveryv3.Resource) (c clusterState, ours bool, err error) {
	var msg clusterv3.Cluster
	if err := proto.Unmarshal(res.GetResource().GetValue(), &msg); err != nil {
		return c, false, fmt.Errorf("cluster %q: %w", res.GetName(), err)
	}
	meta := msg.GetMetadata().GetFilterMetadata()[policy.Namespace]
	if meta == nil {
		return c, false, nil
	}
	svc, err := policy.DecodeService(msg.GetName(), meta)
	if err != nil {
		return c, false, err
	}
	if err := s.check(svc); err != nil {
		return c, false, fmt.Errorf("service %q: %w", svc.Name, err)
	}
	c = clusterState{version: res.GetVersion(), service: svc, assignment: msg.GetEdsClusterConfig().GetServiceName()}
	if c.assignment == "" {
		c.assignment = msg.GetName()
	}
	return c, true, nil
}

func (s *watchState) applyAssignments(r *discoveryv3.DeltaDiscoveryResponse) error {
	next := maps.Clone(s.assignments)
	for _, name := range r.GetRemovedResources() {
		// The cluster still stands, so its last known pods do too; without a
		// version they are asked for again. settle forgets the unneeded.
		if a, ok := next[name]; ok {
			next[name] = assignmentState{pods: a.pods}
		}
	}
	for _, res := range r.GetResources() {
		a, err := decodeAssignment(res)
		if err != nil {
			return fmt.Errorf("endpoints %q: %w", res.GetName(), err)
		}
		next[res.GetName()] = a
	}
	s.assignments = next
	s.settle()
	return nil
}

func decodeAssignment(res *discoveryv3.Resource) (assignmentState, error) {
	var msg endpointv3.ClusterLoadAssignment
	if err := proto.Unmarshal(res.GetResource().GetValue(), &msg); err != nil {
		return assignmentState{}, err
	}
	a := assignmentState{version: res.GetVersion()}
	names := map[string]bool{}
	for _, locality := range msg.GetEndpoints() {
		for _, ep := range locality.GetLbEndpoints() {
			pod, err := decodePod(ep, locality.GetLocality().GetZone())
			if err != nil {
				return a, err
			}
			if names[pod.Name] {
				return a, fmt.Errorf("pod %q is there twice", pod.Name)
			}
			names[pod.Name] = true
			a.pods = append(a.pods, pod)
		}
	}
	return a, nil
}

func decodePod(ep *endpointv3.LbEndpoint, zone string) (statefulroute.Pod, error) {
	socket := ep.GetEndpoint().GetAddress().GetSocketAddress()
	ip, err := netip.ParseAddr(socket.GetAddress())
	if err != nil {
		return statefulroute.Pod{}, fmt.Errorf("endpoint address %q: %w", socket.GetAddress(), err)
	}
	if socket.GetPortValue() == 0 || socket.GetPortValue() > 65535 {
		return statefulroute.Pod{}, fmt.Errorf("endpoint %s has port %d", ip, socket.GetPortValue())
	}
	address := netip.AddrPortFrom(ip, uint16(socket.GetPortValue()))
	return policy.DecodePod(ep.GetMetadata().GetFilterMetadata()[policy.Namespace], address, zone)
}

// settle moves each service to the assignment its cluster names, once that has
// arrived, and forgets assignments that nobody needs any more.
func (s *watchState) settle() {
	needed := map[string]bool{}
	for name, c := range s.clusters {
		if _, arrived := s.assignments[c.assignment]; arrived {
			s.inForce[name] = c.assignment
		}
		needed[c.assignment] = true
		needed[s.inForce[name]] = true
	}
	maps.DeleteFunc(s.inForce, func(name, assignment string) bool {
		_, hasCluster := s.clusters[name]
		_, hasPods := s.assignments[assignment]
		return !hasCluster || !hasPods
	})
	maps.DeleteFunc(s.assignments, func(name string, _ assignmentState) bool { return !needed[name] })
}

// services returns every service whose pods are known, by name.
func (s *watchState) services() []ServiceState {
	out := make([]ServiceState, 0, len(s.inForce))
	for _, name := range slices.Sorted(maps.Keys(s.inForce)) {
		out = append(out, ServiceState{
			Service: s.clusters[name].service,
			Pods:    s.assignments[s.inForce[name]].pods,
		})
	}
	return out
}

// complete reports whether every service announced has its pods: the state is
// then whole enough to decide on.
func (s *watchState) complete() bool {
	return s.gotClusters && len(s.inForce) == len(s.clusters)
}

// wanted returns the EDS resources to be subscribed to.
func (s *watchState) wanted() map[string]bool {
	w := make(map[string]bool, len(s.clusters))
	for _, c := range s.clusters {
		w[c.assignment] = true
	}
	return w
}

// clusterVersions and assignmentVersions are the initial_resource_versions of a
// resumed stream.
func (s *watchState) clusterVersions() map[string]string {
	v := make(map[string]string, len(s.clusters))
	for name, c := range s.clusters {
		v[name] = c.version
	}
	return v
}

func (s *watchState) assignmentVersions(wanted map[string]bool) map[string]string {
	v := make(map[string]string, len(wanted))
	for name := range wanted {
		if a, ok := s.assignments[name]; ok && a.version != "" {
			v[name] = a.version
		}
	}
	return v
}
