package xdsclients

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

// message is a response of either protocol.
type message struct {
	typeURL, nonce, version string
	resources               []*anypb.Any
}

// stream is an ADS stream of either protocol.
type stream interface {
	receive() (message, error)
	// request answers m, or asks first; refusal is the answer's.
	request(typeURL string, names []string, m message, refusal *status.Status) error
	// names are what an answer to m must repeat.
	names(m message) []string
	// subscribe asks for the endpoints of these names.
	subscribe(names []string) error
}

type delta struct {
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	node   *corev3.Node
}

func (d *delta) receive() (message, error) {
	resp, err := d.stream.Recv()
	if err != nil {
		return message{}, err
	}
	m := message{typeURL: resp.GetTypeUrl(), nonce: resp.GetNonce(), version: resp.GetSystemVersionInfo()}
	for _, r := range resp.GetResources() {
		m.resources = append(m.resources, r.GetResource())
	}
	return m, nil
}

func (d *delta) request(typeURL string, names []string, m message, refusal *status.Status) error {
	return d.stream.Send(&discoveryv3.DeltaDiscoveryRequest{
		Node: d.node, TypeUrl: typeURL, ResponseNonce: m.nonce, ErrorDetail: refusal, ResourceNamesSubscribe: names,
	})
}

func (d *delta) names(message) []string { return nil }

func (d *delta) subscribe(names []string) error {
	return d.request(resourcev3.EndpointType, names, message{}, nil)
}

type sotw struct {
	stream   discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	node     *corev3.Node
	eds      []string
	last     message // of the endpoints
	accepted map[string]string
}

func (s *sotw) receive() (message, error) {
	resp, err := s.stream.Recv()
	if err != nil {
		return message{}, err
	}
	m := message{typeURL: resp.GetTypeUrl(), nonce: resp.GetNonce(), version: resp.GetVersionInfo(), resources: resp.GetResources()}
	if m.typeURL == resourcev3.EndpointType {
		s.last = m
	}
	return m, nil
}

func (s *sotw) request(typeURL string, names []string, m message, refusal *status.Status) error {
	if s.accepted == nil {
		s.accepted = map[string]string{}
	}
	if refusal == nil && m.version != "" {
		s.accepted[typeURL] = m.version
	}
	return s.stream.Send(&discoveryv3.DiscoveryRequest{
		Node: s.node, TypeUrl: typeURL, ResponseNonce: m.nonce, ErrorDetail: refusal, ResourceNames: names, VersionInfo: s.accepted[typeURL],
	})
}

func (s *sotw) names(m message) []string {
	if m.typeURL == resourcev3.EndpointType {
		return s.eds
	}
	return nil
}

func (s *sotw) subscribe(names []string) error {
	s.eds = names
	return s.request(resourcev3.EndpointType, names, s.last, nil)
}
