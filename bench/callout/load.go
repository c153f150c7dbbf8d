package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/stateful-route/stateful-route/wire"
)

// load is what is asked of a server.
type load struct {
	streams, sessions int
	time              time.Duration // 0: one callout
	took              []time.Duration
}

// client is one connection, as a thread of Envoy has one, with all streams on it.
type client struct {
	load
	net.Conn
	noop  bool
	w     *bufio.Writer
	r     *bufio.Reader
	f     *http2.Framer
	block bytes.Buffer
	enc   *hpack.Encoder
	next  uint32
	asked int
	end   time.Time
	open  map[uint32]*callout

	received uint32
	ask      [][]byte // the first message of each session
	response []byte   // that with response headers
}

// callout is a stream.
type callout struct {
	began   time.Time
	decided bool
	in      []byte
}

// window is how much the peer may send before it is told to go on.
const window = 1 << 30

// load asks until its time is over, and returns how long each answer took.
func (s *subject) load(ctx context.Context, l load) ([]time.Duration, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", s.socket)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(l.time + 10*time.Second)); err != nil {
		return nil, err
	}
	c := &client{load: l, Conn: conn, noop: s.noop, next: 1, open: map[uint32]*callout{}, end: time.Now().Add(l.time)}
	if err := c.prepare(); err != nil {
		return nil, err
	}
	for range l.streams {
		if err := c.begin(); err != nil {
			return nil, err
		}
	}
	for len(c.open) > 0 {
		if c.r.Buffered() == 0 {
			if err := c.w.Flush(); err != nil {
				return nil, err
			}
		}
		f, err := c.f.ReadFrame()
		if err != nil {
			return nil, err
		}
		if err := c.frame(f); err != nil {
			return nil, err
		}
	}
	return c.took, c.w.Flush()
}

func (c *client) prepare() error {
	c.w, c.r = bufio.NewWriterSize(c.Conn, 64<<10), bufio.NewReaderSize(c.Conn, 64<<10)
	c.f, c.enc = http2.NewFramer(c.w, c.r), hpack.NewEncoder(&c.block)
	c.f.SetReuseFrames()
	if _, err := c.w.WriteString(http2.ClientPreface); err != nil {
		return err
	}
	if err := c.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}); err != nil {
		return err
	}
	for i := range c.sessions {
		c.ask = append(c.ask, framed(c.request(i)))
	}
	c.response = framed(responseMessage())
	return c.f.WriteWindowUpdate(0, window)
}

// framed is a message of gRPC.
func framed(m proto.Message) []byte {
	raw, err := proto.Marshal(m)
	if err != nil {
		panic(err) // a message of ours
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(raw))), raw...) //nolint:gosec // it is short
}

// request is what Envoy sends first: to ours the headers that it reads, else all.
func (c *client) request(session int) *extprocv3.ProcessingRequest {
	h := []*corev3.HeaderValue{header(":path", "/"), header(":method", "GET")}
	if c.noop {
		h = append(h, header(":authority", "127.0.0.1:10000"), header(":scheme", "http"), header("x-forwarded-proto", "http"),
			header("x-request-id", "6f4e1a52-8f1d-4f0c-9d0e-0f3f8b1c2d3e"))
	}
	h = append(h, header("x-session-id", "session-"+strconv.Itoa(session)))
	return &extprocv3.ProcessingRequest{
		Request:        &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: &corev3.HeaderMap{Headers: h}, EndOfStream: true}},
		ProtocolConfig: &extprocv3.ProtocolConfiguration{}, MetadataContext: &corev3.Metadata{},
	}
}

func responseMessage() *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{Headers: &corev3.HeaderMap{
			Headers: []*corev3.HeaderValue{header(":status", "200")}}}},
		Attributes: map[string]*structpb.Struct{"envoy.filters.http.ext_proc": {Fields: map[string]*structpb.Value{
			wire.UpstreamAddressAttribute: structpb.NewStringValue(pod)}}},
		MetadataContext: &corev3.Metadata{},
	}
}

func header(key, value string) *corev3.HeaderValue {
	return &corev3.HeaderValue{Key: key, RawValue: []byte(value)}
}

// begin opens a stream, unless the time is over.
func (c *client) begin() error {
	if c.asked > 0 && !time.Now().Before(c.end) {
		return nil
	}
	id := c.next
	c.next += 2
	c.block.Reset()
	for _, h := range c.headers() {
		if err := c.enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}); err != nil {
			return err
		}
	}
	if err := c.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.block.Bytes(), EndHeaders: true}); err != nil {
		return err
	}
	c.open[id] = &callout{began: time.Now()}
	c.asked++
	return c.f.WriteData(id, false, c.ask[c.asked%c.sessions])
}

// headers are those of a stream. An Envoy of ours does not say that it is internal, nor for
// whom it asks.
func (c *client) headers() [][2]string {
	h := [][2]string{
		{":method", "POST"}, {":path", "/envoy.service.ext_proc.v3.ExternalProcessor/Process"}, {":authority", "extproc"}, {":scheme", "http"},
		{"te", "trailers"}, {"content-type", "application/grpc"},
	}
	if c.noop {
		return append(h, [2]string{"x-envoy-internal", "true"}, [2]string{"x-forwarded-for", "10.0.0.1"})
	}
	return append(h, [2]string{wire.ServiceMetadata, "chat"})
}

// frame takes what the server sent.
func (c *client) frame(f http2.Frame) error {
	id := f.Header().StreamID
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			return c.f.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			return c.f.WritePing(true, f.Data)
		}
	case *http2.GoAwayFrame:
		return fmt.Errorf("the server goes away: %s", f.ErrCode)
	case *http2.RSTStreamFrame:
		return fmt.Errorf("stream reset: %s", f.ErrCode)
	case *http2.DataFrame:
		return c.data(id, f)
	case *http2.HeadersFrame:
		if at := c.open[id]; at != nil && f.StreamEnded() {
			if !at.decided {
				return errors.New("a stream ended undecided")
			}
			return c.ended(id)
		}
	}
	return nil
}

func (c *client) ended(id uint32) error {
	delete(c.open, id)
	return c.begin()
}

func (c *client) data(id uint32, f *http2.DataFrame) error {
	if c.received += f.Length; c.received > window/2 {
		if err := c.f.WriteWindowUpdate(0, c.received); err != nil {
			return err
		}
		c.received = 0
	}
	at := c.open[id]
	if at == nil {
		return nil
	}
	at.in = append(at.in, f.Data()...)
	if len(at.in) < 5 || len(at.in) < 5+int(binary.BigEndian.Uint32(at.in[1:])) {
		return nil
	}
	answer := &extprocv3.ProcessingResponse{}
	if err := proto.Unmarshal(at.in[5:], answer); err != nil {
		return err
	}
	at.in = at.in[:0]
	return c.answered(id, at, answer)
}

// answered does what Envoy does with an answer: it is done with it, or shows the response, or
// waits for the end of the request, which is at once here.
func (c *client) answered(id uint32, at *callout, answer *extprocv3.ProcessingResponse) error {
	if at.decided {
		return c.f.WriteData(id, true, nil)
	}
	if answer.GetRequestHeaders() == nil {
		return fmt.Errorf("not decided: %v", answer)
	}
	at.decided = true
	c.took = append(c.took, time.Since(at.began))
	switch {
	case c.noop:
		if err := c.f.WriteRSTStream(id, http2.ErrCodeNo); err != nil {
			return err
		}
		return c.ended(id)
	case answer.GetModeOverride().GetResponseHeaderMode() == filterv3.ProcessingMode_SEND:
		return c.f.WriteData(id, false, c.response)
	}
	return c.f.WriteData(id, true, nil)
}
