package xdsclient

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
	"github.com/stateful-route/stateful-route/wire"
)

// Type URLs of what extproc asks xds-server for.
const (
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
)

// watchState is what the delta streams of CDS and EDS have told so far. It is a
// plain state machine: responses go in, the services that differ and the
// subscriptions that may follow come out. What a response costs depends on what is
// in it, not on how many services there are. It outlives a stream, so a new one
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
	// users are the services that name or use an assignment. One that nobody
	// does is forgotten.
	users map[string][]string
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

// changes are what one response made different.
type changes struct {
	set  []wire.ServiceState // by name
	gone []string
	// assignments are those whose subscription may have to change.
	assignments []string
}

func newWatchState(check func(statefulroute.Service) error) *watchState {
	return &watchState{
		check:       check,
		clusters:    map[string]clusterState{},
		assignments: map[string]assignmentState{},
		inForce:     map[string]string{},
		users:       map[string][]string{},
	}
}

// apply takes one response whole, or returns why it is refused and changes
// nothing.
func (s *watchState) apply(r *discoveryv3.DeltaDiscoveryResponse) (changes, error) {
	switch r.GetTypeUrl() {
	case clusterType:
		return s.applyClusters(r)
	case endpointType:
		return s.applyAssignments(r)
	}
	return changes{}, fmt.Errorf("resource type %q was not asked for", r.GetTypeUrl())
}

func (s *watchState) applyClusters(r *discoveryv3.DeltaDiscoveryResponse) (changes, error) {
	next := make(map[string]*clusterState, len(r.GetResources())) // nil: gone
	for _, name := range r.GetRemovedResources() {
		next[name] = nil
	}
	for _, res := range r.GetResources() {
		c, ours, err := s.decodeCluster(res)
		switch {
		case err != nil:
			return changes{}, err
		case !ours:
			next[res.GetName()] = nil
		default:
			next[res.GetName()] = &c
		}
	}
	s.gotClusters = true
	var out changes
	for _, name := range slices.Sorted(maps.Keys(next)) {
		before := s.look(name)
		out.assignments = append(out.assignments, s.uses(name)...)
		s.setCluster(name, next[name])
		out.assignments = append(out.assignments, s.uses(name)...)
		out.note(name, before, s.look(name))
	}
	return out, nil
}

// setCluster sets or removes one cluster and what depends on it.
func (s *watchState) setCluster(name string, c *clusterState) {
	before := s.uses(name)
	if c == nil {
		delete(s.clusters, name)
	} else {
		s.clusters[name] = *c
	}
	s.settle(name, before)
}

// settle moves a service to the assignment its cluster names, once that has
// arrived, and forgets assignments that nobody needs any more. before is what the
// service used until now.
func (s *watchState) settle(name string, before []string) {
	c, stands := s.clusters[name]
	if !stands {
		delete(s.inForce, name)
	} else if _, arrived := s.assignments[c.assignment]; arrived {
		s.inForce[name] = c.assignment
	}
	after := s.uses(name)
	for _, a := range after {
		if !slices.Contains(s.users[a], name) {
			s.users[a] = append(s.users[a], name)
		}
	}
	for _, a := range before {
		if slices.Contains(after, a) {
			continue
		}
		s.users[a] = slices.DeleteFunc(s.users[a], func(user string) bool { return user == name })
		if len(s.users[a]) == 0 {
			delete(s.users, a)
			delete(s.assignments, a)
		}
	}
}

// uses lists the assignments that a service names and uses.
func (s *watchState) uses(name string) []string {
	var out []string
	if c, ok := s.clusters[name]; ok {
		out = append(out, c.assignment)
	}
	if a, ok := s.inForce[name]; ok && !slices.Contains(out, a) {
		out = append(out, a)
	}
	return out
}

// look returns a service as it is in force, nil if it is not.
func (s *watchState) look(name string) *wire.ServiceState {
	a, ok := s.inForce[name]
	if !ok {
		return nil
	}
	return &wire.ServiceState{Service: s.clusters[name].service, Pods: s.assignments[a].pods}
}

// note adds a service to the changes if it differs.
func (c *changes) note(name string, before, after *wire.ServiceState) {
	switch {
	case after == nil && before != nil:
		c.gone = append(c.gone, name)
	case after != nil && (before == nil || !before.Same(after)):
		c.set = append(c.set, *after)
	}
}

// decodeCluster reports ours = false for a cluster without our metadata:
// Envoy's own way to xds-server or extproc, not a service.
func (s *watchState) decodeCluster(res *discoveryv3.Resource) (c clusterState, ours bool, err error) {
	var msg clusterv3.Cluster
	if err := proto.Unmarshal(res.GetResource().GetValue(), &msg); err != nil {
		return c, false, fmt.Errorf("cluster %q: %w", res.GetName(), err)
	}
	meta := msg.GetMetadata().GetFilterMetadata()[wire.Namespace]
	if meta == nil {
		return c, false, nil
	}
	svc, err := wire.DecodeService(msg.GetName(), meta)
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

func (s *watchState) applyAssignments(r *discoveryv3.DeltaDiscoveryResponse) (changes, error) {
	next := make(map[string]assignmentState, len(r.GetResources()))
	for _, name := range r.GetRemovedResources() {
		// The cluster still stands, so its last known pods do too; without a
		// version they are asked for again.
		if a, ok := s.assignments[name]; ok {
			next[name] = assignmentState{pods: a.pods}
		}
	}
	for _, res := range r.GetResources() {
		a, err := decodeAssignment(res)
		if err != nil {
			return changes{}, fmt.Errorf("endpoints %q: %w", res.GetName(), err)
		}
		next[res.GetName()] = a
	}
	var out changes
	for _, assignment := range slices.Sorted(maps.Keys(next)) {
		for _, name := range slices.Clone(s.users[assignment]) { // nobody's is dropped
			before, used := s.look(name), s.uses(name)
			s.assignments[assignment] = next[assignment]
			s.settle(name, used)
			out.note(name, before, s.look(name))
		}
	}
	return out, nil
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
	return wire.DecodePod(ep.GetMetadata().GetFilterMetadata()[wire.Namespace], address, zone)
}

// services returns every service whose pods are known, by name.
func (s *watchState) services() []wire.ServiceState {
	out := make([]wire.ServiceState, 0, len(s.inForce))
	for _, name := range slices.Sorted(maps.Keys(s.inForce)) {
		out = append(out, wire.ServiceState{
			Service: s.clusters[name].service,
			Pods:    s.assignments[s.inForce[name]].pods,
		})
	}
	return out
}

// complete reports whether every service announced has its pods: the state is
// then synced, and enough to decide on.
func (s *watchState) complete() bool {
	return s.gotClusters && len(s.inForce) == len(s.clusters)
}

// wanted returns the EDS resources to be subscribed to.
func (s *watchState) wanted() []string {
	out := make([]string, 0, len(s.clusters))
	for _, c := range s.clusters {
		out = append(out, c.assignment)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// wants reports whether an EDS resource is to be subscribed to.
func (s *watchState) wants(assignment string) bool {
	return slices.ContainsFunc(s.users[assignment], func(name string) bool {
		return s.clusters[name].assignment == assignment
	})
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

func (s *watchState) assignmentVersions(wanted []string) map[string]string {
	v := make(map[string]string, len(wanted))
	for _, name := range wanted {
		if a, ok := s.assignments[name]; ok && a.version != "" {
			v[name] = a.version
		}
	}
	return v
}
