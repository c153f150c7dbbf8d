package codec

import (
	"bytes"
	"encoding/hex"
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/stateful-route/stateful-route/sessionkey"
	"github.com/stateful-route/stateful-route/wire"
)

var messages = flag.Int("messages", 50_000, "messages that are read both ways")

// byProto is what a message says according to package proto.
func byProto(raw []byte) (m Message, err error) {
	r := &extprocv3.ProcessingRequest{}
	if err := proto.Unmarshal(raw, r); err != nil {
		return m, err
	}
	m.from(r)
	return m, nil
}

// differs compares the two ways to read a message, and reports which the message took.
func differs(t testing.TB, raw []byte) (short bool) {
	t.Helper()
	var got Message
	short = got.parse(piece{raw, string(raw)})
	gotErr := got.unmarshal(raw)
	want, wantErr := byProto(raw)
	if (gotErr == nil) != (wantErr == nil) || gotErr != nil && gotErr.Error() != wantErr.Error() {
		t.Fatalf("%x: error %v, package proto says %v", raw, gotErr, wantErr)
	}
	if wantErr == nil && !equal(got, want) {
		t.Fatalf("%x: read as\n%+v, package proto says\n%+v", raw, got, want)
	}
	return short
}

func equal(a, b Message) bool {
	return a.Kind == b.Kind && a.Upstream == b.Upstream && a.RequestTime == b.RequestTime && a.BoundPod == b.BoundPod && slices.Equal(a.Headers, b.Headers)
}

// maker makes messages at random, most of them as Envoy does.
type maker struct{ *rand.Rand }

func (m maker) one(of ...string) string { return of[m.IntN(len(of))] }

func (m maker) text() string {
	return m.one("", "a", ":path", ":method", "x-session-id", "cookie", "ü", "\xff\xfe", strings.Repeat("k", 1+m.IntN(200)))
}

func (m maker) valid() string { return strings.ToValidUTF8(m.text(), "?") }

func (m maker) headers() *corev3.HeaderMap {
	h := &corev3.HeaderMap{}
	for range m.IntN(9) {
		v := &corev3.HeaderValue{Key: m.valid(), RawValue: []byte(m.text())}
		if m.IntN(8) == 0 {
			v.Value = m.valid()
		}
		h.Headers = append(h.Headers, v)
	}
	return h
}

func (m maker) value() *structpb.Value {
	if m.IntN(8) == 0 {
		return []*structpb.Value{structpb.NewNumberValue(7), structpb.NewBoolValue(true), structpb.NewNullValue(), {},
			structpb.NewStructValue(&structpb.Struct{}), structpb.NewListValue(&structpb.ListValue{})}[m.IntN(6)]
	}
	return structpb.NewStringValue(m.valid())
}

func (m maker) attributes() map[string]*structpb.Struct {
	out := map[string]*structpb.Struct{}
	if m.IntN(3) == 0 {
		fields := map[string]*structpb.Value{}
		for range m.IntN(4) {
			fields[m.one(wire.UpstreamAddressAttribute, wire.RequestTimeAttribute, "request.path", "")] = m.value()
		}
		out["envoy.filters.http.ext_proc"] = &structpb.Struct{Fields: fields}
	}
	return out
}

func (m maker) metadata() *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		m.one(wire.LBNamespace, wire.Namespace): {Fields: map[string]*structpb.Value{m.one(wire.BoundPodKey, "x"): m.value()}},
	}}
}

func (m maker) message() []byte {
	r := &extprocv3.ProcessingRequest{Attributes: m.attributes(), ObservabilityMode: m.IntN(20) == 0}
	http := &extprocv3.HttpHeaders{Headers: m.headers(), EndOfStream: m.IntN(2) == 0}
	switch m.IntN(20) {
	case 0:
		r.Request = &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte(m.text())}}
	case 1:
		r.Request = &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: &extprocv3.HttpBody{}}
	case 2:
		r.Request = &extprocv3.ProcessingRequest_RequestTrailers{RequestTrailers: &extprocv3.HttpTrailers{Trailers: m.headers()}}
	case 3:
		r.Request = &extprocv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extprocv3.HttpTrailers{Trailers: m.headers()}}
	case 4: // nothing
	case 5, 6, 7, 8, 9, 10:
		r.Request = &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: http}
	default:
		r.Request = &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: http}
	}
	if m.IntN(2) == 0 {
		r.ProtocolConfig = &extprocv3.ProtocolConfiguration{RequestBodyMode: 1, SendBodyWithoutWaitingForHeaderResponse: true}
	}
	switch m.IntN(10) {
	case 0:
		r.MetadataContext = m.metadata()
	case 1, 2, 3, 4, 5, 6:
		r.MetadataContext = &corev3.Metadata{}
	}
	raw, err := proto.MarshalOptions{AllowPartial: true}.Marshal(r)
	if err != nil {
		panic(err)
	}
	return raw
}

// damaged changes a message where it hurts: bytes, lengths, its end, its parts in another order or twice.
func (m maker) damaged(raw []byte) []byte {
	raw = bytes.Clone(raw)
	for range 1 + m.IntN(3) {
		if len(raw) == 0 {
			return raw
		}
		at := m.IntN(len(raw))
		switch m.IntN(6) {
		case 0:
			raw[at] = byte(m.Uint32())
		case 1:
			raw[at] ^= 1 << m.IntN(8)
		case 2:
			raw = raw[:at]
		case 3:
			raw = slices.Insert(raw, at, byte(m.Uint32()))
		case 4:
			raw = slices.Delete(raw, at, at+1)
		case 5:
			raw = append(raw, m.message()...) // package proto merges them
		}
	}
	return raw
}

// A message is what package proto says it is, and as damaged as it says.
func TestAMessageIsReadAsByPackageProto(t *testing.T) {
	n := *messages
	m := maker{rand.New(rand.NewPCG(14, 7))} //nolint:gosec // no secret
	short, hurt := 0, 0
	for i := range n {
		raw := m.message()
		if i%2 == 1 {
			raw = m.damaged(raw)
		}
		if differs(t, raw) {
			short++
			hurt += i % 2
		}
	}
	t.Logf("%d of %d messages were read without package proto, %d of them after they had been changed", short, n, hurt)
	if short < n/4 || hurt < n/100 {
		t.Errorf("only %d of %d messages, %d of them damaged, were read without package proto", short, n, hurt)
	}
}

func FuzzMessage(f *testing.F) {
	m := maker{rand.New(rand.NewPCG(1, 2))} //nolint:gosec // no secret
	for range 50 {
		f.Add(m.message())
		f.Add(m.damaged(m.message()))
	}
	f.Fuzz(func(t *testing.T, raw []byte) { differs(t, raw) })
}

// What Envoy 1.40 sends is read without package proto.
func TestEnvoysMessagesAreReadTheShortWay(t *testing.T) {
	for sent, want := range map[string]Message{ // taken from a connection
		"123c0a380a0a0a053a706174681a012f0a0e0a073a6d6574686f641a034745540a1a0a0c782d73657373696f6e2d69641a0a73657373696f6e2d3732180142005a00": {
			Kind: RequestHeaders, Headers: sessionkey.Headers{{Key: ":path", Value: "/"}, {Key: ":method", Value: "GET"}, {Key: "x-session-id", Value: "session-72"}}},
		"1a120a100a0e0a073a7374617475731a0332303042004a460a1b656e766f792e66696c746572732e687474702e6578745f70726f6312270a250a10757073747265616d2e6164647265737312111a0f3132372e302e302e313a3239303132": {
			Kind: ResponseHeaders, Headers: sessionkey.Headers{{Key: ":status", Value: "200"}}, Upstream: "127.0.0.1:29012"},
	} {
		raw, err := hex.DecodeString(sent)
		if err != nil {
			t.Fatal(err)
		}
		if !differs(t, raw) {
			t.Errorf("read by package proto: %s", sent)
		}
		var got Message
		if err := got.unmarshal(raw); err != nil || !equal(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
}

func someHeaders(pairs ...string) *extprocv3.HttpHeaders {
	h := &corev3.HeaderMap{}
	for i := 0; i < len(pairs); i += 2 {
		h.Headers = append(h.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
	}
	return &extprocv3.HttpHeaders{Headers: h, EndOfStream: true}
}

func address() map[string]*structpb.Struct {
	return map[string]*structpb.Struct{"envoy.filters.http.ext_proc": {Fields: map[string]*structpb.Value{
		wire.UpstreamAddressAttribute: structpb.NewStringValue("127.0.0.1:9101")}}}
}

// The bytes that a message came in belong to gRPC, which uses them again.
func TestAMessageKeepsNothingOfItsBytes(t *testing.T) {
	raw, err := proto.Marshal(&extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: someHeaders(":status", "200")}, Attributes: address()})
	if err != nil {
		t.Fatal(err)
	}
	var m Message
	if err := New().Unmarshal(mem.BufferSlice{mem.SliceBuffer(raw[:7]), mem.SliceBuffer(raw[7:])}, &m); err != nil {
		t.Fatal(err)
	}
	clear(raw)
	want := Message{Kind: ResponseHeaders, Headers: sessionkey.Headers{{Key: ":status", Value: "200"}}, Upstream: "127.0.0.1:9101"}
	if !equal(m, want) {
		t.Errorf("%+v", m)
	}
}

// An answer is what it was made of, however often it is sent.
func TestAnAnswerIsItsMessage(t *testing.T) {
	r := &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: &extprocv3.HeadersResponse{}}}
	a := NewAnswer(r)
	for range 3 {
		encoded, err := New().Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var got extprocv3.ProcessingResponse
		if err := proto.Unmarshal(encoded.Materialize(), &got); err != nil || !proto.Equal(&got, r) {
			t.Errorf("sent %v, %v", &got, err)
		}
		encoded.Free() // as gRPC does
	}
}

// One that cannot be encoded fails when it is sent, as any message does.
func TestAnAnswerThatCannotBeEncodedIsNotSent(t *testing.T) {
	a := NewAnswer(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ImmediateResponse{
		ImmediateResponse: &extprocv3.ImmediateResponse{Details: "\xff"}}})
	if _, err := New().Marshal(a); err == nil {
		t.Error("no error")
	}
}

// Other services on the server have their messages as before.
func TestOtherMessagesAreThoseOfPackageProto(t *testing.T) {
	c := New()
	encoded, err := c.Marshal(&healthv1.HealthCheckRequest{Service: "s"})
	if err != nil {
		t.Fatal(err)
	}
	var got healthv1.HealthCheckRequest
	if err := c.Unmarshal(encoded, &got); err != nil || got.GetService() != "s" || c.Name() != "proto" {
		t.Errorf("%v %v %s", &got, err, c.Name())
	}
	if _, err := c.Marshal("text"); err == nil {
		t.Error("a text was encoded")
	}
}

func BenchmarkMessage(b *testing.B) {
	raw, err := proto.Marshal(&extprocv3.ProcessingRequest{
		Request:        &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: someHeaders(":path", "/", ":method", "GET", "x-session-id", "session-1")},
		ProtocolConfig: &extprocv3.ProtocolConfiguration{},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("codec", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m := &Message{}
			if err := m.unmarshal(raw); err != nil || m.Kind == None {
				b.Fatal(err)
			}
		}
	})
	b.Run("proto", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if m, err := byProto(raw); err != nil || m.Kind == None {
				b.Fatal(err)
			}
		}
	})
}
