package build

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	sessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	headersessionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/stateful-route/stateful-route/sessionkey"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/state"
)

// The filters' names; routes refer to them to override them per service.
const (
	filterClean         = "stateful-route.clean-response"
	filterExtproc       = "envoy.filters.http.ext_proc"
	filterDenyUndecided = "stateful-route.deny-undecided"
	filterSession       = "envoy.filters.http.stateful_session"
)

// retryHeaders are those by which Envoy's router is asked for retries: extproc and the
// module do, clients may not.
var retryHeaders = []string{wire.RetryOnHeader, "x-envoy-retry-grpc-on", wire.MaxRetriesHeader}

// earlyMutation removes our headers from what clients send before any filter or
// route sees the request, so that a client can never choose a pod, nor have its request
// tried at another: not when extproc is off for a route, and not when it failed open. Where cookies are
// issued it then keeps what x-forwarded-proto said, which Envoy, for whom every
// client is an edge's, overwrites next.
func earlyMutation(m state.Model) (*corev3.TypedExtensionConfig, error) {
	mutations := []*mutationv3.HeaderMutation{{
		Action: &mutationv3.HeaderMutation_RemoveOnMatch_{RemoveOnMatch: &mutationv3.HeaderMutation_RemoveOnMatch{
			KeyMatcher: &matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: wire.HeaderPrefix},
				IgnoreCase:   true,
			},
		}},
	}}
	for _, name := range retryHeaders {
		mutations = append(mutations, &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: name}})
	}
	if tellsEpochs(m) {
		for _, name := range spellings(wire.EpochHeader) {
			mutations = append(mutations, &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: name}})
		}
	}
	if issuesCookies(m) {
		mutations = append(mutations, &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{
			Append: &corev3.HeaderValueOption{Header: &corev3.HeaderValue{
				Key: wire.ForwardedProtoHeader, Value: "%REQ(x-forwarded-proto)%",
			}},
		}})
	}
	typed, err := toAny(&earlyv3.HeaderMutation{Mutations: mutations})
	if err != nil {
		return nil, err
	}
	return &corev3.TypedExtensionConfig{Name: "envoy.http.early_header_mutation.header_mutation", TypedConfig: typed}, nil
}

func tellsEpochs(m state.Model) bool {
	return slices.ContainsFunc(m.Services, func(svc *state.ServiceView) bool { return svc.Session.EpochHeader })
}

// spellings are the other names of a header by which a client could forge it: servers that
// speak the language of CGI (WSGI, Rack, PHP) take a dash and an underscore for the same.
func spellings(name string) (out []string) {
	for dashes := range 1<<strings.Count(name, "-") - 1 { // by their bits, which stay dashes
		spelled := []byte(name)
		for i, c := range spelled {
			if c != '-' {
				continue
			}
			if dashes&1 == 0 {
				spelled[i] = '_'
			}
			dashes >>= 1
		}
		out = append(out, string(spelled))
	}
	return out
}

func issuesCookies(m state.Model) bool {
	return slices.ContainsFunc(m.Services, func(svc *state.ServiceView) bool { return svc.Session.Issue != nil })
}

// buildFilters lists the HTTP filters in the order a request meets them.
func buildFilters(m state.Model, fast FastPath) ([]*hcmv3.HttpFilter, error) {
	makers := []func(state.Model) (*hcmv3.HttpFilter, error){
		cleanResponseFilter, extprocFilter, denyUndecidedFilter, sessionFilter,
		func(state.Model) (*hcmv3.HttpFilter, error) { return routerFilter() },
	}
	if fast != (FastPath{}) {
		module := func(m state.Model) (*hcmv3.HttpFilter, error) { return moduleFilter(m, fast) }
		makers = []func(state.Model) (*hcmv3.HttpFilter, error){askUnlessFast, denyUndecidedFilter, module, makers[len(makers)-1]}
	}
	filters := make([]*hcmv3.HttpFilter, len(makers))
	for i, build := range makers {
		f, err := build(m)
		if err != nil {
			return nil, err
		}
		filters[i] = f
	}
	return filters, nil
}

// cleanResponseFilter comes first, so it sees responses last: stateful_session
// adds its header to a response whose pod was not the asked one.
func cleanResponseFilter(state.Model) (*hcmv3.HttpFilter, error) {
	return httpFilter(filterClean, &headermutationv3.HeaderMutation{Mutations: &headermutationv3.Mutations{
		ResponseMutations: []*mutationv3.HeaderMutation{{Action: &mutationv3.HeaderMutation_Remove{Remove: wire.DestinationHeader}}},
	}})
}

// extprocFilter asks the external processor about request headers only; it
// turns the response phase on itself for requests that need it. Trailers are sent so that
// it sees the end of each request: as long as some may come, its stream stays. Only routes of
// services that recognise sessions switch it on: a request without a route is a
// 404, and nobody's business.
func extprocFilter(m state.Model) (*hcmv3.HttpFilter, error) {
	forwarded, err := forwardedHeaders(m)
	if err != nil {
		return nil, err
	}
	filter, err := httpFilter(filterExtproc, &extprocv3.ExternalProcessor{
		GrpcService: extprocService(),
		ProcessingMode: &extprocv3.ProcessingMode{
			RequestHeaderMode:   extprocv3.ProcessingMode_SEND,
			ResponseHeaderMode:  extprocv3.ProcessingMode_SKIP,
			RequestTrailerMode:  extprocv3.ProcessingMode_SKIP,
			ResponseTrailerMode: extprocv3.ProcessingMode_SEND,
		},
		AllowModeOverride:  true,
		MessageTimeout:     durationpb.New(m.Gateway.MessageTimeout),
		StatPrefix:         "stateful_route",
		ForwardRules:       &extprocv3.HeaderForwardingRules{AllowedHeaders: forwarded},
		MutationRules:      &mutationv3.HeaderMutationRules{AllowEnvoy: wrapperspb.Bool(true)}, // wire.RetryOnHeader
		ResponseAttributes: []string{wire.UpstreamAddressAttribute},
		MetadataOptions: &extprocv3.MetadataOptions{ReceivingNamespaces: &extprocv3.MetadataOptions_MetadataNamespaces{
			Untyped: []string{wire.Namespace, wire.LBNamespace},
		}},
		StatusOnError: &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
	})
	if err != nil {
		return nil, err
	}
	filter.Disabled = true
	return filter, nil
}

// forwardedHeaders is the union of what all services' policies read: every
// header more costs both Envoy and extproc.
func forwardedHeaders(m state.Model) (*matcherv3.ListStringMatcher, error) {
	names := map[string]bool{":path": true, ":method": true, ":status": true}
	if m.Gateway.Tracing.OTLP == "" {
		// The parent of extproc's span is the client's own. With tracing it is
		// Envoy's, which comes in the metadata of the call.
		names["traceparent"], names["tracestate"] = true, true
	}
	for _, svc := range m.Services {
		keys, err := sessionkey.NewReader(svc.Session.Key)
		if err != nil {
			return nil, fmt.Errorf("service %q: %w", svc.Name, err)
		}
		learn, err := sessionkey.NewReader(svc.Session.Learn)
		if err != nil {
			return nil, fmt.Errorf("service %q: %w", svc.Name, err)
		}
		if recognisesSessions(svc.Service) {
			names[wire.PreflightHeader] = true
		}
		for _, name := range slices.Concat(keys.RequestHeaders(), learn.RequestHeaders(), learn.ResponseHeaders()) {
			names[name] = true
		}
	}
	if issuesCookies(m) {
		names["cookie"], names["x-forwarded-proto"], names[wire.ForwardedProtoHeader] = true, true, true
		names["cache-control"] = true // of the responses that get one
	}
	return exactly(slices.Collect(maps.Keys(names))), nil
}

// exactly matches header names.
func exactly(names []string) *matcherv3.ListStringMatcher {
	out := &matcherv3.ListStringMatcher{}
	for _, name := range slices.Sorted(slices.Values(names)) {
		out.Patterns = append(out.Patterns, &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: name}, IgnoreCase: true,
		})
	}
	return out
}

// denyUndecidedFilter is switched on by routes of services that deny unbound requests.
func denyUndecidedFilter(state.Model) (*hcmv3.HttpFilter, error) {
	filter, err := httpFilter(filterDenyUndecided, &rbacv3.RBAC{})
	if err != nil {
		return nil, err
	}
	filter.Disabled = true // where it would let all pass it would yet be made for each request
	return filter, nil
}

// sessionFilter sends a request to the address extproc named and nowhere else:
// strict, because a pod Envoy does not know must be an error that is seen, not
// another pod.
func sessionFilter(state.Model) (*hcmv3.HttpFilter, error) {
	state, err := toAny(&headersessionv3.HeaderBasedSessionState{Name: wire.DestinationHeader})
	if err != nil {
		return nil, err
	}
	return httpFilter(filterSession, &sessionv3.StatefulSession{
		SessionState: &corev3.TypedExtensionConfig{Name: "envoy.http.stateful_session.header", TypedConfig: state},
		Strict:       true,
	})
}

// localReplies gives one status and reason to every way in which Envoy refuses
// a request because no external processor answered: a gRPC error, a timeout
// (504 by itself), or a stream closed without an answer (403 from the deny-undecided
// filter).
func localReplies() (*hcmv3.LocalReplyConfig, error) {
	lost, err := toAny(&celv3.ExpressionFilter{Expression: `response.code_details.startsWith("ext_proc_error") || response.code_details.startsWith("rbac_access_denied")`})
	if err != nil {
		return nil, err
	}
	return &hcmv3.LocalReplyConfig{Mappers: []*hcmv3.ResponseMapper{{
		Filter: &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
			ExtensionFilter: &accesslogv3.ExtensionFilter{
				Name:       "envoy.access_loggers.extension_filters.cel",
				ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: lost},
			},
		}},
		StatusCode: wrapperspb.UInt32(503),
		Body:       inlineText("no external processor answered\n"),
		HeadersToAdd: []*corev3.HeaderValueOption{{
			Header:       &corev3.HeaderValue{Key: wire.ReasonHeader, Value: wire.ReasonExtprocLost},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}},
	}}}, nil
}

func inlineText(text string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
}
