package extproc

import (
	"encoding/base64"
	"maps"
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/structpb"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/extproc/codec"
	"github.com/stateful-route/stateful-route/wire"
)

// Answers to request headers never change for a given pod, so each is built
// once and sent many times, but for the epoch where pods are told that.
//
// Envoy is configured to send response trailers. Most responses have none, so no
// message follows; but Envoy 1.40 then keeps the gRPC stream until the exchange is over
// (without it, it resets the stream at once), and the end of the stream is the
// end of the request: the in-flight count and the duration need no callout.

// answerPair is an answer without and with a look at the response headers.
type answerPair struct {
	hold *codec.Answer
	ask  *codec.Answer
}

func (a *answerPair) choose(ask bool) *codec.Answer {
	if ask {
		return a.ask
	}
	return a.hold
}

// boundAnswers send a request to a pod, and one that may be tried once more, there
// again. That it was decided is said where Envoy looks for it, which costs it a
// hundredth of a request; where it is only now told to, the destination says it.
func boundAnswers(p statefulroute.Pod, loss statefulroute.ExtprocLossPolicy) (once, again answerPair) {
	destination := base64.StdEncoding.EncodeToString([]byte(p.Address.String()))
	there := []*corev3.HeaderValueOption{setHeader(wire.DestinationHeader, destination)}
	thereAgain := append(slices.Clip(there), setHeader(wire.RetryOnHeader, wire.RetrySamePodOn))
	decided := map[string]*structpb.Value{}
	if loss == statefulroute.Deny {
		decided = decidedMetadata()
	}
	named := maps.Clone(decided)
	named[wire.LBNamespace] = structpb.NewStructValue(wire.BoundPod(p.Name))
	return newAnswerPair(&extprocv3.HeaderMutation{SetHeaders: there}, decided),
		newAnswerPair(&extprocv3.HeaderMutation{SetHeaders: thereAgain}, named)
}

// withEpoch is an answer that also tells the pod the binding's epoch. It shares the rest
// with what it is made of, which stays as it is.
func withEpoch(once *codec.Answer, epoch uint64) *codec.Answer {
	answer := once.Message()
	set := answer.GetRequestHeaders().GetResponse().GetHeaderMutation().GetSetHeaders()
	m := &extprocv3.HeaderMutation{SetHeaders: append(slices.Clip(set), setHeader(wire.EpochHeader, strconv.FormatUint(epoch, 10)))}
	return codec.NewAnswer(&extprocv3.ProcessingResponse{
		Response:        headersAnswer(m),
		DynamicMetadata: answer.DynamicMetadata,
		ModeOverride:    answer.ModeOverride,
	})
}

func headersAnswer(m *extprocv3.HeaderMutation) *extprocv3.ProcessingResponse_RequestHeaders {
	return &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{
		Response: &extprocv3.CommonResponse{HeaderMutation: m},
	}}
}

// unboundAnswers leave the choice to Envoy, also of another pod when one
// refuses, and what a client may have put in our header with nobody.
func unboundAnswers() answerPair {
	return newAnswerPair(&extprocv3.HeaderMutation{
		SetHeaders: []*corev3.HeaderValueOption{
			setHeader(wire.RetryOnHeader, wire.RetryOn), setHeader(wire.MaxRetriesHeader, strconv.Itoa(wire.UnboundRetries)),
		},
		RemoveHeaders: []string{wire.DestinationHeader},
	}, decidedMetadata())
}

func newAnswerPair(m *extprocv3.HeaderMutation, metadata map[string]*structpb.Value) answerPair {
	var dynamic *structpb.Struct
	if len(metadata) > 0 {
		dynamic = &structpb.Struct{Fields: metadata}
	}
	answer := func(mode *filterv3.ProcessingMode) *codec.Answer {
		return codec.NewAnswer(&extprocv3.ProcessingResponse{Response: headersAnswer(m), DynamicMetadata: dynamic, ModeOverride: mode})
	}
	return answerPair{
		hold: answer(nil),
		ask: answer(&filterv3.ProcessingMode{
			ResponseHeaderMode:  filterv3.ProcessingMode_SEND,
			ResponseTrailerMode: filterv3.ProcessingMode_SEND,
		}),
	}
}

// decidedMetadata marks a request as answered by us; where on_extproc_loss is
// deny, Envoy lets no other pass.
func decidedMetadata() map[string]*structpb.Value {
	ours := map[string]*structpb.Value{wire.DecidedKey: structpb.NewBoolValue(true)}
	return map[string]*structpb.Value{wire.Namespace: structpb.NewStructValue(&structpb.Struct{Fields: ours})}
}

// refusal answers 503 with a reason that programs can read; setCookie, when not
// empty, goes with it.
func refusal(reason, body, setCookie string) *codec.Answer {
	set := []*corev3.HeaderValueOption{
		setHeader(wire.ReasonHeader, reason),
		setHeader("content-type", "text/plain; charset=utf-8"),
	}
	if setCookie != "" {
		set = append(set, setHeader("set-cookie", setCookie))
	}
	return codec.NewAnswer(&extprocv3.ProcessingResponse{
		Response: &extprocv3.ProcessingResponse_ImmediateResponse{ImmediateResponse: &extprocv3.ImmediateResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
			Headers: &extprocv3.HeaderMutation{SetHeaders: set},
			Body:    []byte(body + "\n"),
			Details: "stateful_route_" + reason,
		}},
	})
}

func setHeader(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, RawValue: []byte(value)},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// asItIs answers response headers that are not changed.
var asItIs = changedResponse(nil)

// changedResponse answers response headers, which change is made to unless it is nil.
func changedResponse(change *extprocv3.HeaderMutation) *codec.Answer {
	r := &extprocv3.HeadersResponse{}
	if change != nil {
		r.Response = &extprocv3.CommonResponse{HeaderMutation: change}
	}
	return codec.NewAnswer(&extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: r}})
}

// cookieMutation adds a cookie to the pod's own, and keeps the response out of shared
// caches: cacheControl, when not empty, replaces what the pod said, and what it said
// to one kind of cache alone is taken out.
func cookieMutation(setCookie, cacheControl string) *extprocv3.HeaderMutation {
	h := setHeader("set-cookie", setCookie)
	h.AppendAction = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
	m := &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{h}, RemoveHeaders: []string{"cdn-cache-control"}}
	if cacheControl != "" {
		m.SetHeaders = append(m.SetHeaders, setHeader("cache-control", cacheControl))
	}
	return m
}

// confirmed lets a request that failed be tried once more.
var confirmed = codec.NewAnswer(&extprocv3.ProcessingResponse{
	Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{}},
})

// passOn answers a message that needs nothing done, by its kind: trailers, or a body that a
// differently configured filter sends. It has nil for any other.
var passOn = [...]*codec.Answer{
	codec.RequestBody: codec.NewAnswer(&extprocv3.ProcessingResponse{
		Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{}}}),
	codec.RequestTrailers: codec.NewAnswer(&extprocv3.ProcessingResponse{
		Response: &extprocv3.ProcessingResponse_RequestTrailers{RequestTrailers: &extprocv3.TrailersResponse{}}}),
	codec.ResponseBody: codec.NewAnswer(&extprocv3.ProcessingResponse{
		Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{}}}),
	codec.ResponseTrailers: codec.NewAnswer(&extprocv3.ProcessingResponse{
		Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}}),
}
