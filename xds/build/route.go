package build

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	configrbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/state"
)

// buildRoutes gives every host its own virtual host. Envoy uses only the most
// specific one, so each also holds the routes of less specific hosts, after
// its own: a service on "*" still gets the paths a named host leaves.
func buildRoutes(m state.Model) (*routev3.RouteConfiguration, error) {
	out := &routev3.RouteConfiguration{
		Name:                            routesName,
		IgnorePortInHostMatching:        true,
		RequestHeadersToRemove:          []string{wire.DestinationHeader, wire.ForwardedProtoHeader},
		ResponseHeadersToRemove:         []string{wire.PodHeader, wire.ReasonHeader},
		MostSpecificHeaderMutationsWins: true,
		ValidateClusters:                wrapperspb.Bool(false),
	}
	if m.Gateway.DebugHeaders {
		out.ResponseHeadersToAdd = []*corev3.HeaderValueOption{podHeader()}
	}
	for _, host := range hosts(m) {
		vhost, err := buildVirtualHost(m, host)
		if err != nil {
			return nil, err
		}
		out.VirtualHosts = append(out.VirtualHosts, vhost)
	}
	return out, nil
}

// moduleCleans reports whether the module takes our headers out of what pods answer, and of requests
// that nobody is asked about. By its routes Envoy would do it with each request, and for the first
// header that it looks for by its name it makes a map of all: together 3 % of a request's instructions.
// A pod's name that a route adds the module could not tell from one that a pod says.
func moduleCleans(m state.Model, fast FastPath) bool {
	return fast != (FastPath{}) && !m.Gateway.DebugHeaders
}

func routesFor(m state.Model, fast FastPath) string {
	if moduleCleans(m, fast) {
		return moduleRoutesName
	}
	return routesName
}

// cleanedByModule are the same routes for Envoys whose module cleans.
func cleanedByModule(routes *routev3.RouteConfiguration) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name:                     moduleRoutesName,
		VirtualHosts:             routes.VirtualHosts,
		IgnorePortInHostMatching: routes.IgnorePortInHostMatching,
		ValidateClusters:         routes.ValidateClusters,
	}
}

func podHeader() *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header: &corev3.HeaderValue{
			Key:   wire.PodHeader,
			Value: "%UPSTREAM_METADATA(" + wire.Namespace + ":pod)%",
		},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

func hosts(m state.Model) []string {
	set := map[string]bool{}
	for _, svc := range m.Services {
		for _, h := range svc.Hosts {
			set[h] = !svc.Unrouted || set[h]
		}
	}
	maps.DeleteFunc(set, func(_ string, routed bool) bool { return !routed })
	return slices.Sorted(maps.Keys(set))
}

// hostRoute is one service on one of its hosts, as seen from a virtual host.
type hostRoute struct {
	host string
	svc  *state.ServiceView
}

func buildVirtualHost(m state.Model, host string) (*routev3.VirtualHost, error) {
	var found []hostRoute
	for _, svc := range m.Services {
		if h, ok := bestHost(svc.Hosts, host); ok && !svc.Unrouted {
			found = append(found, hostRoute{h, svc})
		}
	}
	slices.SortStableFunc(found, func(a, b hostRoute) int {
		return cmp.Or(
			-cmp.Compare(specificity(a.host), specificity(b.host)),
			-cmp.Compare(len(a.svc.Prefix), len(b.svc.Prefix)),
			cmp.Compare(a.svc.Name, b.svc.Name),
		)
	})
	vhost := &routev3.VirtualHost{
		Name: host, Domains: []string{host},
		IncludeRequestAttemptCount: slices.ContainsFunc(found, func(f hostRoute) bool { return recognisesSessions(f.svc.Service) }),
	}
	for _, f := range found {
		route, err := buildRoute(m.Gateway, f.svc.Service)
		if err != nil {
			return nil, err
		}
		vhost.Routes = append(vhost.Routes, route)
	}
	return vhost, nil
}

// bestHost returns the most specific of a service's hosts that covers every
// name the virtual host stands for.
func bestHost(own []string, host string) (best string, ok bool) {
	for _, h := range own {
		if covers(h, host) && (!ok || specificity(h) > specificity(best)) {
			best, ok = h, true
		}
	}
	return best, ok
}

func covers(pattern, host string) bool {
	if pattern == "*" || pattern == host {
		return true
	}
	suffix, wild := strings.CutPrefix(pattern, "*")
	return wild && strings.HasSuffix(strings.TrimPrefix(host, "*"), suffix) && len(host) > len(suffix)
}

// specificity orders hosts as Envoy does: exact names, then longer suffixes,
// then "*".
func specificity(host string) int {
	if !strings.HasPrefix(host, "*") {
		return 1 << 20
	}
	return len(host)
}

func buildRoute(g state.Gateway, svc statefulroute.Service) (*routev3.Route, error) {
	perFilter, err := perFilterConfig(g, svc)
	if err != nil {
		return nil, err
	}
	retry, err := retryPolicy(svc)
	if err != nil {
		return nil, err
	}
	return &routev3.Route{
		Name:  svc.Name,
		Match: routeMatch(svc.Prefix),
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: svc.Name},
			// Sessions hold long requests: streams, websockets, agents. A timeout of
			// 0 is none, an idle one of 0 lifts the connection manager's, too.
			Timeout:     durationpb.New(svc.RequestTimeout),
			IdleTimeout: durationpb.New(svc.StreamIdleTimeout),
			RetryPolicy: retry,
		}},
		TypedPerFilterConfig: perFilter,
	}, nil
}

// recognisesSessions reports whether requests of the service may be bound.
// What is learned or issued is also a key: the configuration sees to that.
func recognisesSessions(svc statefulroute.Service) bool { return len(svc.Session.Key) > 0 }

// routeMatch matches a prefix by whole segments: /v1 covers /v1 and /v1/x, not /v10.
func routeMatch(prefix string) *routev3.RouteMatch {
	if strings.HasSuffix(prefix, "/") {
		return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: prefix}}
	}
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: prefix}}
}

func perFilterConfig(g state.Gateway, svc statefulroute.Service) (map[string]*anypb.Any, error) {
	if !recognisesSessions(svc) {
		return nil, nil // does not pay for the question
	}
	configs := map[string]proto.Message{filterExtproc: extprocPerRoute(g, svc)}
	if svc.Session.OnExtprocLoss == statefulroute.Deny {
		configs[filterDenyUndecided] = onlyDecided()
	}
	out := make(map[string]*anypb.Any, len(configs))
	for name, c := range configs {
		typed, err := toAny(c)
		if err != nil {
			return nil, err
		}
		out[name] = typed
	}
	return out, nil
}

// extprocPerRoute switches the filter on and names the service to extproc. It
// fails open for every service: where unbound requests are denied it is the
// deny-undecided filter that denies them, and only them; a closed failure mode would
// also end requests that were decided and under way when extproc was lost.
func extprocPerRoute(g state.Gateway, svc statefulroute.Service) *extprocv3.ExtProcPerRoute {
	metadata := []*corev3.HeaderValue{{Key: wire.ServiceMetadata, Value: svc.Name}}
	if affine(g) {
		metadata = append(metadata, keyMetadata(svc)...)
	}
	return &extprocv3.ExtProcPerRoute{Override: &extprocv3.ExtProcPerRoute_Overrides{Overrides: &extprocv3.ExtProcOverrides{
		GrpcInitialMetadata: metadata,
		FailureModeAllow:    wrapperspb.Bool(true),
	}}}
}

// onlyDecided lets pass what extproc answered, and what the module did: extproc says so, or has
// named a pod, and the module leaves its mark, none of which a client can do. So it also holds
// as long as neither knows yet that the service denies. Envoy fails open when a stream ends without an answer, whatever failure_mode_allow says.
func onlyDecided() *rbacv3.RBACPerRoute {
	decided := &matcherv3.MetadataMatcher{
		Filter: wire.Namespace,
		Path:   []*matcherv3.MetadataMatcher_PathSegment{{Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: wire.DecidedKey}}},
		Value:  &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_BoolMatch{BoolMatch: true}},
	}
	return &rbacv3.RBACPerRoute{Rbac: &rbacv3.RBAC{Rules: &configrbacv3.RBAC{
		Action: configrbacv3.RBAC_ALLOW,
		Policies: map[string]*configrbacv3.Policy{"decided": {
			Permissions: []*configrbacv3.Permission{{Rule: &configrbacv3.Permission_Any{Any: true}}},
			Principals: []*configrbacv3.Principal{
				{Identifier: &configrbacv3.Principal_SourcedMetadata{
					SourcedMetadata: &configrbacv3.SourcedMetadata{MetadataMatcher: decided, MetadataSource: configrbacv3.MetadataSource_DYNAMIC},
				}},
				{Identifier: &configrbacv3.Principal_Header{Header: &routev3.HeaderMatcher{
					Name:                 wire.DestinationHeader,
					HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
				}}},
				{Identifier: &configrbacv3.Principal_FilterState{FilterState: &matcherv3.FilterStateMatcher{
					Key: wire.FastPathState,
					Matcher: &matcherv3.FilterStateMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
						MatchPattern: &matcherv3.StringMatcher_Exact{Exact: wire.FastPathTaken},
					}},
				}}},
			},
		}},
	}}}
}
