package main

import (
	"context"
	"encoding/base64"
	"errors"
	"hash/fnv"
	"io"
	"net"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
)

// destinationHeader is read by the Envoy before it: the pod's address.
const destinationHeader = "x-bench-destination"

// noop is the least that an external processor for sessions does, as its user's first version
// would do it: the pod is the hash of the session's header, and nothing is kept.
type noop struct {
	extprocv3.UnimplementedExternalProcessorServer

	pods []string
}

// runNoop serves it at a socket, with all of grpc-go's defaults.
func runNoop(ctx context.Context, socket string, pods []string) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "unix", socket)
	if err != nil {
		return err
	}
	g := grpc.NewServer()
	extprocv3.RegisterExternalProcessorServer(g, noop{pods: pods})
	defer context.AfterFunc(ctx, g.Stop)()
	return g.Serve(l)
}

// Process answers request headers with the pod.
func (n noop) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	for {
		in, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(n.answer(in)); err != nil {
			return err
		}
	}
}

func (n noop) answer(in *extprocv3.ProcessingRequest) *extprocv3.ProcessingResponse {
	out := &extprocv3.HeadersResponse{Response: &extprocv3.CommonResponse{}}
	for _, h := range in.GetRequestHeaders().GetHeaders().GetHeaders() {
		if h.GetKey() != "x-session-id" {
			continue
		}
		sum := fnv.New32a()
		_, _ = sum.Write(h.GetRawValue()) // it never fails
		pod := n.pods[int(sum.Sum32())%len(n.pods)]
		out.Response.HeaderMutation = &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{{
			Header:       &corev3.HeaderValue{Key: destinationHeader, RawValue: []byte(base64.StdEncoding.EncodeToString([]byte(pod)))},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}}}
	}
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: out}}
}
