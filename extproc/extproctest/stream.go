package extproctest

import (
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/stateful-route/stateful-route/extproc/codec"
)

// Played is a stream whose messages are those of a test, encoded as on a connection.
func Played(s extprocv3.ExternalProcessor_ProcessServer) grpc.ServerStream { return played{s} }

type played struct {
	extprocv3.ExternalProcessor_ProcessServer
}

func (p played) RecvMsg(m any) error {
	r, err := p.Recv()
	if err != nil {
		return err
	}
	raw, err := proto.Marshal(r)
	if err != nil {
		return err
	}
	return codec.New().Unmarshal(mem.BufferSlice{mem.SliceBuffer(raw)}, m)
}

func (p played) SendMsg(m any) error {
	encoded, err := codec.New().Marshal(m)
	if err != nil {
		return err
	}
	r := &extprocv3.ProcessingResponse{}
	if err := proto.Unmarshal(encoded.Materialize(), r); err != nil {
		return err
	}
	return p.Send(r)
}
