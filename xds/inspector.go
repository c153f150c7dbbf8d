package xds

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	loadstatsv3 "github.com/envoyproxy/go-control-plane/envoy/service/load_stats/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/stateful-route/stateful-route/internal/grpclimit"
	"github.com/stateful-route/stateful-route/wire"
)

// discoveryInspector bounds what one ADS stream has us keep: the node, the types,
// the names, and the last request of each type. It follows the subscriptions
// itself, and exactly, because a client may name a resource again as often as it
// likes.
type discoveryInspector struct {
	names grpclimit.Share
	types []subscribed // a handful
}

// subscribed is what a stream has asked of one type.
type subscribed struct {
	typeURL string
	served  bool
	names   map[string]struct{} // of the delta protocol; the other names all each time
	held    int                 // counted in the share: the names, and what else the last request holds
}

// Received implements grpclimit.Inspector.
func (d *discoveryInspector) Received(message any) *grpclimit.Refusal {
	switch m := message.(type) {
	case *discoveryv3.DeltaDiscoveryRequest:
		return d.delta(m)
	case *discoveryv3.DiscoveryRequest:
		return d.sotw(m)
	}
	return nil
}

// Ended implements grpclimit.Inspector.
func (d *discoveryInspector) Ended() { d.names.GiveAll() }

func (d *discoveryInspector) delta(m *discoveryv3.DeltaDiscoveryRequest) (r *grpclimit.Refusal) {
	if m.Node, r = boundedNode(m.GetNode()); r != nil {
		return r
	}
	m.ErrorDetail = boundedReason(m.GetErrorDetail())
	m.ResourceLocatorsSubscribe, m.ResourceLocatorsUnsubscribe = nil, nil
	m.ProtoReflect().SetUnknown(nil)
	t, r := d.typed(m.GetTypeUrl())
	switch {
	case r != nil:
		return r
	case !t.served: // nothing of it is kept
		m.ResourceNamesSubscribe, m.ResourceNamesUnsubscribe, m.InitialResourceVersions = nil, nil, nil
		return checkNames(m.GetResponseNonce())
	}
	for name, version := range m.GetInitialResourceVersions() {
		if r := checkNames(name, version); r != nil {
			return r
		}
	}
	subscribe, unsubscribe := m.GetResourceNamesSubscribe(), m.GetResourceNamesUnsubscribe()
	for _, names := range [][]string{{m.GetResponseNonce()}, subscribe, unsubscribe} {
		if r := checkNames(names...); r != nil {
			return r
		}
	}
	// What the message holds is counted before what it leads to.
	asked := len(t.names) + len(m.GetInitialResourceVersions()) + len(subscribe) + len(unsubscribe)
	if r := d.resize(t, asked); r != nil {
		return r
	}
	before := len(t.names)
	if t.names == nil && len(subscribe) > 0 {
		t.names = make(map[string]struct{}, len(subscribe))
	}
	for _, name := range subscribe {
		t.names[name] = struct{}{}
	}
	added := len(t.names) - before
	for _, name := range unsubscribe {
		delete(t.names, name)
	}
	// A name that was added is counted as a subscription, not as a part of the message.
	return d.resize(t, asked-before-added+len(t.names))
}

func (d *discoveryInspector) sotw(m *discoveryv3.DiscoveryRequest) (r *grpclimit.Refusal) {
	if m.Node, r = boundedNode(m.GetNode()); r != nil {
		return r
	}
	m.ErrorDetail = boundedReason(m.GetErrorDetail())
	m.ResourceLocators = nil
	m.ProtoReflect().SetUnknown(nil)
	t, r := d.typed(m.GetTypeUrl())
	if r != nil {
		return r
	}
	if !t.served {
		m.ResourceNames = nil
	}
	for _, names := range [][]string{{m.GetResponseNonce(), m.GetVersionInfo()}, m.GetResourceNames()} {
		if r := checkNames(names...); r != nil {
			return r
		}
	}
	return d.resize(t, len(m.GetResourceNames()))
}

// typed returns what the stream has asked of a type until now.
func (d *discoveryInspector) typed(typeURL string) (*subscribed, *grpclimit.Refusal) {
	for i := range d.types {
		if d.types[i].typeURL == typeURL {
			return &d.types[i], nil
		}
	}
	if r := checkNames(typeURL); r != nil {
		return nil, r
	}
	if len(d.types) == maxTypes {
		return nil, grpclimit.Refuse("types", codes.ResourceExhausted, "too many resource types: at most %d", maxTypes)
	}
	d.types = append(d.types, subscribed{typeURL: typeURL, served: slices.Contains(publishOrder(), typeURL)})
	return &d.types[len(d.types)-1], nil
}

// resize counts n names for the type from now on.
func (d *discoveryInspector) resize(t *subscribed, n int) *grpclimit.Refusal {
	switch more := n - t.held; {
	case more < 0:
		d.names.Give(-more)
	case d.names.Held()+more > maxNames:
		return grpclimit.Refuse("names", codes.ResourceExhausted, "too many resource names: at most %d on a stream", maxNames)
	case !d.names.Take(more):
		return grpclimit.Refuse("names", codes.ResourceExhausted, "too many resource names on all streams")
	}
	t.held = n
	return nil
}

// loadInspector bounds what an LRS stream has us keep of its node.
type loadInspector struct{}

// Received implements grpclimit.Inspector.
func (loadInspector) Received(message any) (r *grpclimit.Refusal) {
	if m, ok := message.(*loadstatsv3.LoadStatsRequest); ok {
		m.Node, r = boundedNode(m.GetNode())
	}
	return r
}

// Ended implements grpclimit.Inspector.
func (loadInspector) Ended() {}

// checkNames refuses names that are too long. Names are what clients were told,
// so one that is longer is made up.
func checkNames(names ...string) *grpclimit.Refusal {
	for _, name := range names {
		if len(name) > maxName {
			return grpclimit.Refuse("name_length", codes.InvalidArgument, "a name, a version or a nonce is too long: %d bytes, at most %d", len(name), maxName)
		}
	}
	return nil
}

// boundedNode keeps of a node what is read: who it is, and what it says of us in
// its metadata.
func boundedNode(node *corev3.Node) (*corev3.Node, *grpclimit.Refusal) {
	if node == nil {
		return nil, nil
	}
	if r := checkNames(node.GetId(), node.GetUserAgentName()); r != nil {
		return nil, grpclimit.Refuse("node", codes.InvalidArgument, "the node's id or user_agent_name is too long: at most %d bytes", maxName)
	}
	kept := &corev3.Node{Id: node.GetId(), UserAgentName: node.GetUserAgentName()}
	ours, ok := node.GetMetadata().GetFields()[wire.Namespace]
	if !ok {
		return kept, nil
	}
	if n := proto.Size(ours); n > maxNode {
		return nil, grpclimit.Refuse("node", codes.InvalidArgument, "the node's metadata %s is too large: %d bytes, at most %d", wire.Namespace, n, maxNode)
	}
	kept.Metadata = &structpb.Struct{Fields: map[string]*structpb.Value{wire.Namespace: ours}}
	return kept, nil
}

// boundedReason keeps the beginning of why a client refuses what it was sent: it
// is shown for as long as that is so.
func boundedReason(s *status.Status) *status.Status {
	if s == nil {
		return nil
	}
	reason := s.GetMessage()
	if len(reason) > maxReason {
		reason = strings.ToValidUTF8(reason[:maxReason], "") + "…"
	}
	return &status.Status{Code: s.GetCode(), Message: reason}
}
