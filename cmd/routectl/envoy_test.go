package main

import (
	"context"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// xdsClient asks xds-server for clusters and listeners, as an Envoy does, and
// answers each push as the test says.
type xdsClient struct {
	stream discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient
}

func connectEnvoy(t *testing.T, address string) *xdsClient {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); _ = conn.Close() })
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c := &xdsClient{stream}
	c.send(t, &discoveryv3.DiscoveryRequest{
		Node:    &corev3.Node{Id: "envoy-0", UserAgentName: "envoy"},
		TypeUrl: resourcev3.ClusterType,
	})
	return c
}

func (c *xdsClient) send(t *testing.T, r *discoveryv3.DiscoveryRequest) {
	t.Helper()
	if err := c.stream.Send(r); err != nil {
		t.Fatal(err)
	}
}

// answer waits for a push and accepts it, or refuses it with a reason.
func (c *xdsClient) answer(t *testing.T, refusal string) {
	t.Helper()
	push := c.receive(t)
	r := &discoveryv3.DiscoveryRequest{TypeUrl: push.GetTypeUrl(), ResponseNonce: push.GetNonce(), VersionInfo: push.GetVersionInfo()}
	if refusal != "" {
		r.VersionInfo, r.ErrorDetail = "", &status.Status{Message: refusal}
	}
	c.send(t, r)
}

func (c *xdsClient) receive(t *testing.T) *discoveryv3.DiscoveryResponse {
	t.Helper()
	push, err := c.stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return push
}
