package codec

import (
	"maps"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/stateful-route/stateful-route/sessionkey"
	"github.com/stateful-route/stateful-route/wire"
)

// Kind says what a message is about.
type Kind uint8

// The kinds of messages that are answered; None is any other.
const (
	None Kind = iota
	RequestHeaders
	RequestBody
	RequestTrailers
	ResponseHeaders
	ResponseBody
	ResponseTrailers
)

// Message is what is read of a ProcessingRequest. Its texts are pieces of one copy of the
// message: what is kept of them longer than the message has to be a copy.
type Message struct {
	Kind Kind
	// Headers are those of the request or the response.
	Headers sessionkey.Headers
	// Upstream is the attribute upstream.address; empty where it was not sent.
	Upstream string
	// RequestTime is the attribute request.time.
	RequestTime string
	// BoundPod is the metadata that names the pod of a request that is to be tried again.
	BoundPod string

	few [4]sessionkey.Header // has room for the usual Headers
}

// from takes what is read out of a message that package proto has taken apart.
func (m *Message) from(r *extprocv3.ProcessingRequest) {
	*m = Message{BoundPod: r.GetMetadataContext().GetFilterMetadata()[wire.LBNamespace].GetFields()[wire.BoundPodKey].GetStringValue()}
	switch r := r.GetRequest().(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		m.Kind, m.Headers = RequestHeaders, headersOf(r.RequestHeaders.GetHeaders())
	case *extprocv3.ProcessingRequest_RequestBody:
		m.Kind = RequestBody
	case *extprocv3.ProcessingRequest_RequestTrailers:
		m.Kind = RequestTrailers
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		m.Kind, m.Headers = ResponseHeaders, headersOf(r.ResponseHeaders.GetHeaders())
	case *extprocv3.ProcessingRequest_ResponseBody:
		m.Kind = ResponseBody
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		m.Kind = ResponseTrailers
	}
	m.Upstream, m.RequestTime = attribute(r, wire.UpstreamAddressAttribute), attribute(r, wire.RequestTimeAttribute)
}

func headersOf(m *corev3.HeaderMap) (h sessionkey.Headers) {
	for _, v := range m.GetHeaders() {
		text := string(v.GetRawValue())
		if text == "" { // Envoy fills raw_value unless it was built to fill value
			text = v.GetValue()
		}
		h = append(h, sessionkey.Header{Key: v.GetKey(), Value: text})
	}
	return h
}

// attribute is that of the filter whose name comes first, should several send it.
func attribute(r *extprocv3.ProcessingRequest, name string) string {
	all := r.GetAttributes()
	for _, filter := range slices.Sorted(maps.Keys(all)) {
		if v, ok := all[filter].GetFields()[name]; ok {
			return v.GetStringValue()
		}
	}
	return ""
}
