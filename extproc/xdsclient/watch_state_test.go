package xdsclient

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

// cluster builds a service's cluster with its pods under an EDS name.
func cluster(t testing.TB, svc statefulroute.Service, edsName string) *clusterv3.Cluster {
	t.Helper()
	meta, err := wire.EncodeService(svc)
	if err != nil {
		t.Fatal(err)
	}
	return &clusterv3.Cluster{
		Name:                 svc.Name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{ServiceName: edsName},
		Metadata:             &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{wire.Namespace: meta}},
	}
}

// assignment builds the load assignment of pods in zone "a".
func assignment(t testing.TB, edsName string, pods []statefulroute.Pod) *endpointv3.ClusterLoadAssignment {
	t.Helper()
	l := &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{Zone: "a"}}
	for _, p := range pods {
		meta, err := wire.EncodePod(p)
		if err != nil {
			t.Fatal(err)
		}
		l.LbEndpoints = append(l.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
				Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
					Address:       p.Address.Addr().String(),
					PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(p.Address.Port())},
				}}},
			}},
			Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{wire.Namespace: meta}},
		})
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: edsName, Endpoints: []*endpointv3.LocalityLbEndpoints{l}}
}

func inZoneA(pods []statefulroute.Pod) []statefulroute.Pod {
	out := append([]statefulroute.Pod(nil), pods...)
	for i := range out {
		out[i].Zone = "a"
	}
	return out
}

func response(t testing.TB, typeURL, version string, removed []string, messages ...proto.Message) *discoveryv3.DeltaDiscoveryResponse {
	t.Helper()
	r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURL, Nonce: version, RemovedResources: removed}
	for _, m := range messages {
		packed, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		name := ""
		switch m := m.(type) {
		case *clusterv3.Cluster:
			name = m.GetName()
		case *endpointv3.ClusterLoadAssignment:
			name = m.GetClusterName()
		}
		r.Resources = append(r.Resources, &discoveryv3.Resource{Name: name, Version: version, Resource: packed})
	}
	return r
}

func accept(t testing.TB, s *watchState, r *discoveryv3.DeltaDiscoveryResponse) {
	t.Helper()
	if _, err := s.apply(r); err != nil {
		t.Fatal(err)
	}
}

func acceptAnything(statefulroute.Service) error { return nil }

func TestWatchStateReadsServicesAndPods(t *testing.T) {
	s := newWatchState(acceptAnything)
	if s.complete() {
		t.Error("complete before anything came")
	}
	envoys := &clusterv3.Cluster{Name: "not-a-service"}
	accept(t, s, response(t, clusterType, "1", nil, cluster(t, chat(), "chat@1"), envoys))
	if s.complete() || len(s.services()) != 0 {
		t.Error("a service is in force before its pods came")
	}
	if want := []string{"chat@1"}; !reflect.DeepEqual(s.wanted(), want) {
		t.Errorf("wants %v, want %v", s.wanted(), want)
	}
	draining := withState(pods(3), "chat-1", statefulroute.Draining)
	accept(t, s, response(t, endpointType, "1", nil, assignment(t, "chat@1", draining)))
	want := []wire.ServiceState{stateOf(chat(), inZoneA(draining))}
	if got := s.services(); !reflect.DeepEqual(got, want) || !s.complete() {
		t.Errorf("complete %v\ngot  %+v\nwant %+v", s.complete(), got, want)
	}
}

func TestWatchStateKeepsOldPodsUntilTheNewOnesCome(t *testing.T) {
	s := newWatchState(acceptAnything)
	accept(t, s, response(t, clusterType, "1", nil, cluster(t, chat(), "chat@1")))
	accept(t, s, response(t, endpointType, "1", nil, assignment(t, "chat@1", pods(3))))
	accept(t, s, response(t, clusterType, "2", nil, cluster(t, chat(rejecting), "chat@2")))
	if got := s.services(); len(got) != 1 || len(got[0].Pods) != 3 || got[0].Service.Session.OnPodLoss != statefulroute.Reject {
		t.Fatalf("between the two generations: %+v", got)
	}
	accept(t, s, response(t, endpointType, "1", []string{"chat@1"}))
	if got := s.services(); len(got) != 1 || len(got[0].Pods) != 3 {
		t.Fatalf("the old generation was removed before the new one came: %+v", got)
	}
	accept(t, s, response(t, endpointType, "2", nil, assignment(t, "chat@2", pods(1))))
	if got := s.services(); len(got) != 1 || len(got[0].Pods) != 1 {
		t.Fatalf("after the new generation: %+v", got)
	}
	if len(s.assignments) != 1 {
		t.Errorf("%d assignments kept, want the one in use", len(s.assignments))
	}
}

func TestWatchStateForgetsARemovedService(t *testing.T) {
	s := newWatchState(acceptAnything)
	accept(t, s, response(t, clusterType, "1", nil, cluster(t, chat(), "chat@1")))
	accept(t, s, response(t, endpointType, "1", nil, assignment(t, "chat@1", pods(3))))
	accept(t, s, response(t, clusterType, "2", []string{"chat"}))
	if len(s.services()) != 0 || len(s.assignments) != 0 || len(s.inForce) != 0 || !s.complete() {
		t.Errorf("left behind: %+v", s)
	}
}

func TestWatchStateResumesFromVersions(t *testing.T) {
	s := newWatchState(acceptAnything)
	accept(t, s, response(t, clusterType, "7", nil, cluster(t, chat(), "chat@1")))
	accept(t, s, response(t, endpointType, "8", nil, assignment(t, "chat@1", pods(3))))
	if got := s.clusterVersions(); got["chat"] != "7" {
		t.Errorf("cluster versions %v", got)
	}
	if got := s.assignmentVersions(s.wanted()); got["chat@1"] != "8" {
		t.Errorf("endpoint versions %v", got)
	}
	// Endpoints that were taken away under a standing cluster are asked for anew.
	accept(t, s, response(t, endpointType, "9", []string{"chat@1"}))
	if got := s.assignmentVersions(s.wanted()); len(got) != 0 || len(s.services()) != 1 {
		t.Errorf("endpoint versions %v with %d services", got, len(s.services()))
	}
}

func TestWatchStateRefusesBadContent(t *testing.T) {
	good := func() *watchState {
		s := newWatchState(func(svc statefulroute.Service) error {
			if svc.Balancing.Strategy == "odd" {
				return errors.New(`unknown strategy "odd"`)
			}
			return nil
		})
		accept(t, s, response(t, clusterType, "1", nil, cluster(t, chat(), "chat@1")))
		accept(t, s, response(t, endpointType, "1", nil, assignment(t, "chat@1", pods(2))))
		return s
	}
	odd := chat(func(s *statefulroute.Service) { s.Balancing.Strategy = "odd" })
	broken := cluster(t, chat(), "chat@1")
	broken.Metadata.FilterMetadata[wire.Namespace] = &structpb.Struct{Fields: map[string]*structpb.Value{
		"idle_timeout": structpb.NewStringValue("soon")}}
	host := assignment(t, "chat@1", pods(1))
	host.Endpoints[0].LbEndpoints[0].GetEndpoint().GetAddress().GetSocketAddress().Address = "chat.internal"
	port := assignment(t, "chat@1", pods(1))
	port.Endpoints[0].LbEndpoints[0].GetEndpoint().GetAddress().GetSocketAddress().PortSpecifier = nil
	nameless := assignment(t, "chat@1", pods(1))
	nameless.Endpoints[0].LbEndpoints[0].Metadata = nil
	garbage := response(t, clusterType, "2", nil, cluster(t, chat(), "x"))
	garbage.Resources[0].Resource.Value = []byte{0xff}

	tests := []struct {
		response *discoveryv3.DeltaDiscoveryResponse
		want     string
	}{
		{response(t, clusterType, "2", nil, cluster(t, odd, "chat@2")), `service "chat": unknown strategy "odd"`},
		{response(t, clusterType, "2", nil, broken), `policy of service "chat"`},
		{garbage, `cluster "chat"`},
		{response(t, endpointType, "2", nil, host), `"chat.internal"`},
		{response(t, endpointType, "2", nil, port), "port 0"},
		{response(t, endpointType, "2", nil, nameless), "no stateful-route metadata"},
		{response(t, endpointType, "2", nil, assignment(t, "chat@1", append(pods(2), pods(1)...))), `pod "chat-0" is there twice`},
		{response(t, "type.googleapis.com/odd", "2", nil), "not asked for"},
	}
	for _, c := range tests {
		s := good()
		before := fmt.Sprintf("%+v", s.services())
		_, err := s.apply(c.response)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
		if after := fmt.Sprintf("%+v", s.services()); after != before {
			t.Errorf("%s: the refused response changed the state", c.want)
		}
	}
}
