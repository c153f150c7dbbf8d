package codec

import (
	"fmt"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec of all other messages
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// New returns the codec of a gRPC server whose stream handlers receive a *Message and send an
// *Answer. Other services of the server have their messages encoded as before.
func New() encoding.CodecV2 { return codec{encoding.GetCodecV2("proto")} }

type codec struct{ proto encoding.CodecV2 }

func (c codec) Name() string { return c.proto.Name() }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if a, ok := v.(*Answer); ok {
		return a.encoded, a.err
	}
	return c.proto.Marshal(v)
}

func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*Message)
	if !ok {
		return c.proto.Unmarshal(data, v)
	}
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	return m.unmarshal(buffer.ReadOnlyData())
}

func (m *Message) unmarshal(raw []byte) error {
	if m.parse(piece{raw, string(raw)}) {
		return nil
	}
	r := &extprocv3.ProcessingRequest{}
	if err := proto.Unmarshal(raw, r); err != nil {
		return err
	}
	m.from(r)
	return nil
}

// Answer is a ProcessingResponse, encoded once. It may be sent on any number of streams.
type Answer struct {
	message *extprocv3.ProcessingResponse
	encoded mem.BufferSlice
	err     error // of the encoding: sending fails with it
}

// NewAnswer encodes a response, which must not change from then on.
func NewAnswer(r *extprocv3.ProcessingResponse) *Answer {
	raw, err := proto.Marshal(r)
	if err != nil {
		err = fmt.Errorf("encode an answer: %w", err)
	}
	return &Answer{r, mem.BufferSlice{mem.SliceBuffer(raw)}, err}
}

// Message is the response that the answer is; it is not to be changed.
func (a *Answer) Message() *extprocv3.ProcessingResponse { return a.message }
