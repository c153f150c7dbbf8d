package extproc

import (
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"

	"github.com/stateful-route/stateful-route/extproc/codec"
)

// streamWorkers is how many goroutines handle streams one after the other: their stacks have grown
// already. A stream is open for as long as its request; those beyond have a goroutine each.
const streamWorkers = 64

// NewGRPCServer returns a gRPC server for s, on which further services may be registered. It is
// made here because s receives and sends what only the codec of package codec knows. o must set neither a
// codec nor a tap handle: gRPC has room for one of each.
func NewGRPCServer(s *Server, o ...grpc.ServerOption) *grpc.Server {
	g := grpc.NewServer(append(o, grpc.ForceServerCodecV2(codec.New()), grpc.NumStreamWorkers(streamWorkers), grpc.InTapHandle(readQuestion))...)
	g.RegisterService(&grpc.ServiceDesc{
		ServiceName: extprocv3.ExternalProcessor_ServiceDesc.ServiceName,
		HandlerType: (*interface {
			Process(stream grpc.ServerStream) error
		})(nil),
		Streams: []grpc.StreamDesc{{
			StreamName:    "Process",
			Handler:       func(_ any, stream grpc.ServerStream) error { return s.Process(stream) },
			ServerStreams: true,
			ClientStreams: true,
		}},
		Metadata: extprocv3.ExternalProcessor_ServiceDesc.Metadata,
	}, s)
	return g
}
