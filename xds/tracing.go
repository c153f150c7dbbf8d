package xds

import (
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
)

const (
	// OTLPCluster is the Envoy cluster of the collector that Envoy sends spans to.
	OTLPCluster = "stateful-route-otlp"
	// tracedService is the service.name of Envoy's spans.
	tracedService = "stateful-route-envoy"
)

// buildTracing has Envoy export a span for each request and one for its call of
// extproc, whose own span is the child of the latter: Envoy puts the call's
// trace context into the metadata of the gRPC stream. nil is off.
func buildTracing(t Tracing) (*hcmv3.HttpConnectionManager_Tracing, error) {
	if t.OTLP == "" {
		return nil, nil
	}
	provider, err := toAny(&tracev3.OpenTelemetryConfig{
		GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: OTLPCluster},
		}},
		ServiceName: tracedService,
	})
	if err != nil {
		return nil, err
	}
	return &hcmv3.HttpConnectionManager_Tracing{
		RandomSampling: &typev3.Percent{Value: t.Sample},
		Provider: &tracev3.Tracing_Http{
			Name:       "envoy.tracers.opentelemetry",
			ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: provider},
		},
	}, nil
}

// buildOTLPCluster is where Envoy finds the collector.
func buildOTLPCluster(t Tracing) (*clusterv3.Cluster, error) {
	c, err := buildGRPCCluster(OTLPCluster, []string{t.OTLP})
	if err != nil {
		return nil, fmt.Errorf("envoy.tracing.otlp: %w", err)
	}
	return c, nil
}
