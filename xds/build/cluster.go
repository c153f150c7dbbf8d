package build

import (
	"fmt"
	"hash/fnv"
	"math"
	"net/netip"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/state"
)

// buildCluster is a service's Envoy cluster. Its EDS name ends with a hash of
// the cluster itself: with delta ADS a changed cluster whose EDS name stays
// the same is left warming for 15 s, because nothing is sent again for it.
func buildCluster(svc *state.ServiceView) (*clusterv3.Cluster, error) {
	meta, err := wire.EncodeService(svc.Service)
	if err != nil {
		return nil, err
	}
	options, err := upstreamOptions(svc.Service)
	if err != nil {
		return nil, err
	}
	c := &clusterv3.Cluster{
		Name:                 svc.Name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: adsSource()},
		ConnectTimeout:       durationpb.New(time.Second),
		LbPolicy:             lbPolicy(svc.Balancing),
		CommonLbConfig:       commonLb(),
		CircuitBreakers:      noBreakers(),
		Metadata:             &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{wire.Namespace: meta}},

		UpstreamConnectionOptions:     &clusterv3.UpstreamConnectionOptions{TcpKeepalive: tcpKeepalive()},
		TypedExtensionProtocolOptions: options,
	}
	if recognisesSessions(svc.Service) {
		c.LbSubsetConfig = boundSubset()
	}
	if svc.TLS != nil {
		if c.TransportSocket, err = podSocket(*svc.TLS); err != nil {
			return nil, err
		}
	}
	if window := svc.Balancing.SlowStart; window > 0 && c.LbPolicy == clusterv3.Cluster_ROUND_ROBIN {
		// Load does not change these weights, so that Envoy itself must start new
		// pods slowly: from a tenth of their weight on, as elsewhere.
		c.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{
			SlowStartConfig: &clusterv3.Cluster_SlowStartConfig{SlowStartWindow: durationpb.New(window)},
		}}
	}
	generation, err := hashOf(c)
	if err != nil {
		return nil, err
	}
	c.EdsClusterConfig.ServiceName = fmt.Sprintf("%s@%08x", svc.Name, generation)
	return c, nil
}

// lbPolicy is how Envoy itself balances unbound requests over the weights.
func lbPolicy(b statefulroute.BalancingPolicy) clusterv3.Cluster_LbPolicy {
	if b.FixedWeights {
		return clusterv3.Cluster_ROUND_ROBIN
	}
	return clusterv3.Cluster_LEAST_REQUEST
}

func commonLb() *clusterv3.Cluster_CommonLbConfig {
	return &clusterv3.Cluster_CommonLbConfig{
		// In panic mode draining pods would get new traffic (envoy #46800).
		HealthyPanicThreshold: &typev3.Percent{Value: 0},
		UpdateMergeWindow:     durationpb.New(0),
		// A draining pod still serves the sessions bound to it.
		OverrideHostStatus: &corev3.HealthStatusSet{Statuses: []corev3.HealthStatus{
			corev3.HealthStatus_UNKNOWN, corev3.HealthStatus_HEALTHY, corev3.HealthStatus_DRAINING,
		}},
	}
}

// noBreakers lifts Envoy's default of 1024: it is caps in our own
// configuration that limit a pod.
func noBreakers() *clusterv3.CircuitBreakers {
	most := wrapperspb.UInt32(math.MaxUint32)
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxConnections: most, MaxPendingRequests: most, MaxRequests: most, MaxRetries: most,
	}}}
}

func hashOf(m proto.Message) (uint32, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return 0, fmt.Errorf("hash %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
	}
	h := fnv.New32a()
	_, _ = h.Write(raw) // a hash.Hash never fails
	return h.Sum32(), nil
}

// buildGRPCCluster is a cluster of gRPC servers that Envoy itself calls. Without
// keepalive no pings are sent: a server may take them for an attack.
func buildGRPCCluster(name string, addresses []string, keepalive *corev3.KeepaliveSettings) (*clusterv3.Cluster, error) {
	endpoints := &endpointv3.LocalityLbEndpoints{}
	for _, a := range addresses {
		address, err := grpcAddress(a)
		if err != nil {
			return nil, err
		}
		endpoints.LbEndpoints = append(endpoints.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address}},
		})
	}
	options, err := httpOptions(http2Protocol(keepalive))
	if err != nil {
		return nil, err
	}
	return &clusterv3.Cluster{
		Name:                          name,
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:                durationpb.New(250 * time.Millisecond),
		LoadAssignment:                &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{endpoints}},
		CircuitBreakers:               noBreakers(),
		TypedExtensionProtocolOptions: options,
	}, nil
}

// upstreamOptions end idle connections before pods do: a request that Envoy sends
// on a connection which the pod is just closing gets 503, unless it is one
// that may be tried again.
func upstreamOptions(svc statefulroute.Service) (map[string]*anypb.Any, error) {
	options := &httpv3.HttpProtocolOptions{
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(svc.ConnectionIdleTimeout)},
	}
	if recognisesSessions(svc) {
		filters, err := confirmedRetries(svc)
		if err != nil {
			return nil, err
		}
		options.HttpFilters = filters
	}
	// A WebSocket is taken to pods that speak HTTP/2 as RFC 8441 has it.
	http2 := &corev3.Http2ProtocolOptions{AllowConnect: true}
	explicit := &httpv3.HttpProtocolOptions_ExplicitHttpConfig{}
	options.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit}
	switch svc.Protocol {
	case statefulroute.HTTP2, statefulroute.GRPC:
		explicit.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: http2}
	case statefulroute.Auto:
		if svc.TLS != nil { // the pod says what it speaks
			options.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_AutoConfig{AutoConfig: &httpv3.HttpProtocolOptions_AutoHttpConfig{
				HttpProtocolOptions: &corev3.Http1ProtocolOptions{}, Http2ProtocolOptions: http2,
			}}
			break
		}
		options.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
				HttpProtocolOptions: &corev3.Http1ProtocolOptions{}, Http2ProtocolOptions: http2,
			},
		}
	default:
		explicit.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{}
	}
	return httpOptions(options)
}

func http2Protocol(keepalive *corev3.KeepaliveSettings) *httpv3.HttpProtocolOptions {
	return &httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
				Http2ProtocolOptions: &corev3.Http2ProtocolOptions{ConnectionKeepalive: keepalive},
			},
		}},
	}
}

func httpOptions(o *httpv3.HttpProtocolOptions) (map[string]*anypb.Any, error) {
	typed, err := toAny(o)
	if err != nil {
		return nil, err
	}
	return map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed}, nil
}

func grpcAddress(a string) (*corev3.Address, error) {
	if file, ok := strings.CutPrefix(a, "unix:"); ok {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: file}}}, nil
	}
	ap, err := netip.ParseAddrPort(a)
	if err != nil {
		return nil, err
	}
	return addrPort(ap), nil
}
