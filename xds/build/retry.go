package build

import (
	"time"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	codecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	previoushostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/sessionkey"
	"github.com/stateful-route/stateful-route/wire"
)

// attemptHeader is Envoy's own: 1 for the first attempt of a request.
const attemptHeader = "x-envoy-attempt-count"

// confirmTimeout is how long a retry waits for its confirmation.
const confirmTimeout = time.Second

// retryPolicy tries again, at another pod, what never reached one. Where
// requests may be bound it says how, but not when: extproc does for each request, by
// wire.RetryOnHeader. The router forgets the pod it was told when it tries again; of a
// bound request boundSubset then knows it.
func retryPolicy(svc statefulroute.Service) (*routev3.RetryPolicy, error) {
	elsewhere, err := elsewhere()
	if err != nil {
		return nil, err
	}
	p := &routev3.RetryPolicy{
		NumRetries:         wrapperspb.UInt32(wire.BoundRetries),
		RetryHostPredicate: elsewhere,
		// LEAST_REQUEST likes a pod that fails fast and names it again and again:
		// of 600 requests beside a dead pod one found it five times in a row, twice.
		HostSelectionRetryMaxAttempts: 20,
	}
	if !recognisesSessions(svc) {
		p.RetryOn, p.NumRetries = wire.RetryOn, wrapperspb.UInt32(wire.UnboundRetries)
	}
	return p, nil
}

// elsewhere has a retry go to a host that was not tried yet.
func elsewhere() ([]*routev3.RetryPolicy_RetryHostPredicate, error) {
	typed, err := toAny(&previoushostsv3.PreviousHostsPredicate{})
	return []*routev3.RetryPolicy_RetryHostPredicate{{
		Name:       "envoy.retry_host_predicates.previous_hosts",
		ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: typed},
	}}, err
}

// boundSubset has the retry of a request that extproc bound to a pod go to that pod,
// by its name, or nowhere.
func boundSubset() *clusterv3.Cluster_LbSubsetConfig {
	return &clusterv3.Cluster_LbSubsetConfig{
		FallbackPolicy: clusterv3.Cluster_LbSubsetConfig_ANY_ENDPOINT, // unbound requests
		SubsetSelectors: []*clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector{{
			Keys:                []string{wire.BoundPodKey},
			SingleHostPerSubset: true,
			FallbackPolicy:      clusterv3.Cluster_LbSubsetConfig_LbSubsetSelector_NO_FALLBACK,
		}},
	}
}

// confirmedRetries are the filters that each attempt of a request meets: all but the
// first ask extproc whether the session is still its pod's. Only then is the filter
// that asks made at all.
func confirmedRetries(svc statefulroute.Service) ([]*hcmv3.HttpFilter, error) {
	confirm, err := confirmFilter(svc)
	if err != nil {
		return nil, err
	}
	first, err := toXDS(&matcherv3.HttpRequestHeaderMatchInput{HeaderName: attemptHeader})
	if err != nil {
		return nil, err
	}
	filter, err := unless("stateful-route.confirm-retry", first, "1", &compositev3.ExecuteFilterAction{TypedConfig: confirm})
	if err != nil {
		return nil, err
	}
	codec, err := httpFilter("envoy.filters.http.upstream_codec", &codecv3.UpstreamCodec{})
	return []*hcmv3.HttpFilter{filter, codec}, err
}

// confirmFilter asks extproc, with the pod that the session was bound to.
func confirmFilter(svc statefulroute.Service) (*corev3.TypedExtensionConfig, error) {
	keys, err := sessionkey.NewReader(svc.Session.Key)
	if err != nil {
		return nil, err
	}
	asks := extprocService()
	asks.InitialMetadata = []*corev3.HeaderValue{
		{Key: wire.ServiceMetadata, Value: svc.Name}, {Key: wire.ConfirmMetadata, Value: "1"},
	}
	config, err := toAny(&extprocv3.ExternalProcessor{
		GrpcService: asks,
		ProcessingMode: &extprocv3.ProcessingMode{
			RequestHeaderMode:   extprocv3.ProcessingMode_SEND,
			ResponseHeaderMode:  extprocv3.ProcessingMode_SKIP,
			RequestTrailerMode:  extprocv3.ProcessingMode_SKIP,
			ResponseTrailerMode: extprocv3.ProcessingMode_SKIP,
		},
		MessageTimeout:    durationpb.New(confirmTimeout),
		StatPrefix:        "stateful_route_retry",
		ForwardRules:      &extprocv3.HeaderForwardingRules{AllowedHeaders: exactly(append(keys.RequestHeaders(), ":path", ":method"))},
		RequestAttributes: []string{wire.RequestTimeAttribute, wire.UpstreamAddressAttribute},
		MetadataOptions: &extprocv3.MetadataOptions{ForwardingNamespaces: &extprocv3.MetadataOptions_MetadataNamespaces{
			Untyped: []string{wire.LBNamespace},
		}},
		StatusOnError: &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
	})
	if err != nil {
		return nil, err
	}
	return &corev3.TypedExtensionConfig{Name: filterExtproc, TypedConfig: config}, nil
}

func action(m proto.Message) (*xdsmatcherv3.Matcher_OnMatch, error) {
	config, err := toXDS(m)
	if err != nil {
		return nil, err
	}
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{Action: config}}, nil
}

// toXDS packs a message for where the matchers' API wants it.
func toXDS(m proto.Message) (*xdscorev3.TypedExtensionConfig, error) {
	typed, err := toAny(m)
	if err != nil {
		return nil, err
	}
	return &xdscorev3.TypedExtensionConfig{Name: string(m.ProtoReflect().Descriptor().FullName()), TypedConfig: typed}, nil
}
