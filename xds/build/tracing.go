package build

import (
	"fmt"
	"math"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	samplersv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/samplers/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/stateful-route/stateful-route/sessionkey"
	"github.com/stateful-route/stateful-route/xds/state"
)

const (
	// otlpCluster is the Envoy cluster of the collector that Envoy sends spans to.
	otlpCluster = "stateful-route-otlp"
	// tracedService is the service.name of Envoy's spans.
	tracedService = "stateful-route-envoy"
)

// buildTracing has Envoy export a span for each request and one for its call of
// extproc, whose own span is the child of the latter: Envoy puts the call's
// trace context into the metadata of the gRPC stream. nil is off.
func buildTracing(m state.Model) (*hcmv3.HttpConnectionManager_Tracing, error) {
	if m.Gateway.Tracing.OTLP == "" {
		return nil, nil
	}
	sampler, err := buildSampler(m.Gateway.Tracing.Sample)
	if err != nil {
		return nil, err
	}
	provider, err := toAny(&tracev3.OpenTelemetryConfig{
		GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: otlpCluster},
		}},
		ServiceName: tracedService,
		Sampler:     sampler,
	})
	if err != nil {
		return nil, err
	}
	out := &hcmv3.HttpConnectionManager_Tracing{
		Provider: &tracev3.Tracing_Http{
			Name:       "envoy.tracers.opentelemetry",
			ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: provider},
		},
	}
	if keysInPaths(m) {
		out.MaxPathTagLength = wrapperspb.UInt32(0)
	}
	return out, nil
}

// buildSampler is OpenTelemetry's parentbased_traceidratio: a client's decision
// is followed, and where there is none, a share of the traces is kept. The
// connection manager's own random sampling would overrule clients.
func buildSampler(percent float64) (*corev3.TypedExtensionConfig, error) {
	ratio, err := toAny(&samplersv3.TraceIdRatioBasedSamplerConfig{SamplingPercentage: &typev3.FractionalPercent{
		Numerator: uint32(math.Round(percent * 10_000)), Denominator: typev3.FractionalPercent_MILLION,
	}})
	if err != nil {
		return nil, err
	}
	parent, err := toAny(&samplersv3.ParentBasedSamplerConfig{WrappedSampler: &corev3.TypedExtensionConfig{
		Name: "envoy.tracers.opentelemetry.samplers.trace_id_ratio_based", TypedConfig: ratio,
	}})
	if err != nil {
		return nil, err
	}
	return &corev3.TypedExtensionConfig{Name: "envoy.tracers.opentelemetry.samplers.parent_based", TypedConfig: parent}, nil
}

// keysInPaths reports whether a path, or the query after it, may hold a session
// key. Keys are not for those who may read traces.
func keysInPaths(m state.Model) bool {
	return slices.ContainsFunc(m.Services, func(svc *state.ServiceView) bool {
		keys, err := sessionkey.NewReader(svc.Session.Key)
		return err != nil || keys.InPath()
	})
}

// buildOTLPCluster is where Envoy finds the collector.
func buildOTLPCluster(t state.Tracing) (*clusterv3.Cluster, error) {
	c, err := buildGRPCCluster(otlpCluster, []string{t.OTLP}, nil)
	if err != nil {
		return nil, fmt.Errorf("envoy.tracing.otlp: %w", err)
	}
	return c, nil
}
