package build

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	inspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/wellknown"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/stateful-route/stateful-route/xds/state"
)

// Names of the resources that are not a service's own.
const (
	listenerPrefix = "stateful-route " // the address follows
	routesName     = "stateful-route"
	// moduleRoutesName are those of Envoys whose module takes out what the others take out.
	moduleRoutesName = "stateful-route module"
	// extprocCluster is the Envoy cluster of the external processors.
	extprocCluster = "stateful-route-extproc"
)

// maxRequestHeadersKB leaves room beside a session key of the longest kind, 64 KiB.
const maxRequestHeadersKB = 96

// buildListeners are Envoy's public listeners, one for each address: so an address that
// begins or ends to speak TLS is a change of its own listener, and its socket stays.
func buildListeners(m state.Model, fast FastPath) (map[string]types.Resource, error) {
	if len(m.Gateway.Listeners) == 0 {
		return nil, errors.New("envoy.listener: at least one address is needed")
	}
	manager, err := buildConnectionManager(m, fast)
	if err != nil {
		return nil, err
	}
	typed, err := toAny(manager)
	if err != nil {
		return nil, err
	}
	filters := []*listenerv3.Filter{{Name: wellknown.HTTPConnectionManager, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: typed}}}
	out := make(map[string]types.Resource, len(m.Gateway.Listeners))
	for _, at := range m.Gateway.Listeners {
		listener, err := buildListener(m.Gateway, at, filters)
		if err != nil {
			return nil, fmt.Errorf("envoy.listener: %w", err)
		}
		out[listener.Name] = listener
	}
	return out, nil
}

// buildListener has one HTTP connection manager for all its clients, whatever certificate
// they were shown: its filters ask extproc, then pin the request to the pod it chose.
func buildListener(g state.Gateway, at state.Listener, filters []*listenerv3.Filter) (*listenerv3.Listener, error) {
	address, err := listenAddress(at.Address)
	if err != nil {
		return nil, err
	}
	out := &listenerv3.Listener{
		Name:                          listenerPrefix + at.Address,
		Address:                       address,
		FilterChains:                  []*listenerv3.FilterChain{{Filters: filters}},
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(1 << 20),
		TcpKeepalive:                  tcpKeepalive(),
	}
	if !at.TLS {
		return out, nil
	}
	if out.FilterChains, err = certifiedChains(g.Certificates, filters); err != nil {
		return nil, err
	}
	inspector, err := toAny(&inspectorv3.TlsInspector{})
	if err != nil {
		return nil, err
	}
	// Also where there is one certificate: with another one, connections would else end.
	out.ListenerFilters = []*listenerv3.ListenerFilter{{
		Name: wellknown.TLSInspector, ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: inspector},
	}}
	return out, nil
}

// tcpKeepalive finds a client or pod that is gone without a word, with its machine
// or network, after two minutes, though its stream may be quiet for as long as it
// likes; and it keeps quiet connections in the tables of load balancers and NATs
// before and behind Envoy, which forget them after some minutes.
func tcpKeepalive() *corev3.TcpKeepalive {
	return &corev3.TcpKeepalive{
		KeepaliveTime: wrapperspb.UInt32(60), KeepaliveInterval: wrapperspb.UInt32(15), KeepaliveProbes: wrapperspb.UInt32(4),
	}
}

func buildConnectionManager(m state.Model, fast FastPath) (*hcmv3.HttpConnectionManager, error) {
	early, err := earlyMutation(m)
	if err != nil {
		return nil, err
	}
	filters, err := buildFilters(m, fast)
	if err != nil {
		return nil, err
	}
	replies, err := localReplies()
	if err != nil {
		return nil, err
	}
	tracing, err := buildTracing(m)
	if err != nil {
		return nil, err
	}
	return &hcmv3.HttpConnectionManager{
		StatPrefix:                    "stateful_route",
		RouteSpecifier:                &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{RouteConfigName: routesFor(m, fast), ConfigSource: adsSource()}},
		EarlyHeaderMutationExtensions: []*corev3.TypedExtensionConfig{early},
		HttpFilters:                   filters,
		LocalReplyConfig:              replies,
		Tracing:                       tracing,
		UseRemoteAddress:              wrapperspb.Bool(true),
		XffNumTrustedHops:             m.Gateway.TrustedHops,
		MaxRequestHeadersKb:           wrapperspb.UInt32(maxRequestHeadersKB),
		NormalizePath:                 wrapperspb.Bool(true),
		StripTrailingHostDot:          true,
		HttpProtocolOptions:           http1Options(m.Gateway.HTTP10),
		Http2ProtocolOptions:          &corev3.Http2ProtocolOptions{AllowConnect: true}, // WebSockets, RFC 8441
		UpgradeConfigs:                []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: websocket}},
	}, nil
}

// hostOfHTTP10 is the host of HTTP/1.0 requests that name none.
const hostOfHTTP10 = "localhost"

// http1Options take no offer to change the protocol but for a WebSocket: a server
// may ignore an Upgrade (RFC 9110, 7.8), and clients that offer TLS or HTTP/2 to
// everybody count on it. Envoy by itself refuses them.
func http1Options(http10 bool) *corev3.Http1ProtocolOptions {
	o := &corev3.Http1ProtocolOptions{IgnoreHttp_11Upgrade: []*matcherv3.StringMatcher{{
		MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: anythingBut(websocket)}},
	}}}
	if http10 {
		o.AcceptHttp_10, o.DefaultHostForHttp_10 = true, hostOfHTTP10
	}
	return o
}

const websocket = "websocket"

// anythingBut is an RE2 pattern that matches all but a word of letters in any case:
// what ends before the word does, what differs in a letter, what is longer.
func anythingBut(word string) string {
	patterns := []string{word + ".+"}
	for i, letter := range word {
		patterns = append(patterns, fmt.Sprintf("%s([^%c].*)?", word[:i], letter))
	}
	return "(?is)" + strings.Join(patterns, "|")
}

func adsSource() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}
}

// listenAddress is where clients are accepted. All of IPv6's addresses are all of
// IPv4's, too, whatever the machine's default is.
func listenAddress(hostPort string) (*corev3.Address, error) {
	ap, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return nil, err
	}
	address := addrPort(ap)
	address.GetSocketAddress().Ipv4Compat = ap.Addr() == netip.IPv6Unspecified()
	return address, nil
}

func addrPort(ap netip.AddrPort) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       ap.Addr().String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(ap.Port())},
	}}}
}

func routerFilter() (*hcmv3.HttpFilter, error) {
	// Envoy's x-envoy-* response headers tell clients about our pods' timing.
	return httpFilter(wellknown.Router, &routerv3.Router{SuppressEnvoyHeaders: true})
}

func httpFilter(name string, config proto.Message) (*hcmv3.HttpFilter, error) {
	typed, err := toAny(config)
	if err != nil {
		return nil, err
	}
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: typed}}, nil
}

// toAny packs a message so that the same message always gives the same bytes:
// a generation is a hash of them. It is checked by the rules of Envoy's API before:
// a check of what holds it does not look into it.
func toAny(m proto.Message) (*anypb.Any, error) {
	if err := validate(string(m.ProtoReflect().Descriptor().Name()), m); err != nil {
		return nil, err
	}
	out := &anypb.Any{}
	if err := anypb.MarshalFrom(out, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		return nil, fmt.Errorf("pack %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	return out, nil
}
