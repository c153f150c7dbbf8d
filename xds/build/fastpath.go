package build

import (
	"fmt"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modulesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/dynamic_modules/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	modulefilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/dynamic_modules/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networkinputsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/state"
)

// filterModule is of Envoys that have the module; it has nothing to do with a route.
const filterModule = "envoy.filters.http.dynamic_modules"

// FastPath is what an Envoy needs to answer for known sessions by itself: the module and
// the table, both as files that this Envoy sees. The zero value is an Envoy that has
// neither.
type FastPath struct {
	Module, Table string
}

// Listeners are the listeners of an Envoy that has the fast path, checked by the rules of
// Envoy's API; of one that has not, those of Shared.
func Listeners(m state.Model, fast FastPath) (map[string]types.Resource, error) {
	listeners, err := buildListeners(m, fast)
	if err != nil {
		return nil, err
	}
	for name, listener := range listeners {
		if err := validate(name, listener); err != nil {
			return nil, err
		}
	}
	return listeners, nil
}

// moduleFilter pins a request of a known session, or marks one that needs no decision, when its
// filters are made; all others it sends where extproc said, and so comes after the filter that asks.
// It is never unloaded: a thread of its own watches the table.
//
// Its configuration begins with an empty line: a module from before it sent requests where extproc
// said refuses that. Then come the table's path and for how long extproc may be asked about a
// response; and whether it is to clean.
func moduleFilter(m state.Model, fast FastPath) (*hcmv3.HttpFilter, error) {
	lines := fmt.Sprintf("\n%s\n%d", fast.Table, max(m.Gateway.MessageTimeout.Milliseconds(), 1))
	if moduleCleans(m, fast) {
		lines += "\nclean"
	}
	table, err := toAny(wrapperspb.String(lines))
	if err != nil {
		return nil, err
	}
	return httpFilter(filterModule, &modulefilterv3.DynamicModuleFilter{
		DynamicModuleConfig: &modulesv3.DynamicModuleConfig{
			Module: &corev3.AsyncDataSource{Specifier: &corev3.AsyncDataSource_Local{
				Local: &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: fast.Module}},
			}},
			DoNotClose: true,
		},
		FilterName:   wire.Namespace,
		FilterConfig: table,
	})
}

// nowhere is a chain of filters that there is not: a composite filter that is to execute it
// does nothing, and says so in Envoy's documentation.
const nowhere = "none"

// askUnlessFast has the filter that asks be made for the requests alone that the module did not
// mark: to make it and skip it costs as much as all else of ours, see design/fast-path.md. The
// mark is filter state, which no client can set. The filter keeps its name, so that routes
// override it as before.
func askUnlessFast(m state.Model) (*hcmv3.HttpFilter, error) {
	asks, err := extprocFilter(m)
	if err != nil {
		return nil, err
	}
	mark, err := toXDS(&networkinputsv3.FilterStateInput{Key: wire.FastPathState})
	if err != nil {
		return nil, err
	}
	out, err := unless(asks.Name, mark, wire.FastPathTaken, &compositev3.ExecuteFilterAction{
		TypedConfig: &corev3.TypedExtensionConfig{Name: asks.Name, TypedConfig: asks.GetTypedConfig()},
	})
	if err != nil {
		return nil, err
	}
	out.Disabled = asks.Disabled
	return out, nil
}

// unless executes a filter for the requests whose input is not the text; for the others it is
// not even made. It is the composite filter's own matcher that looks: an ExtensionWithMatcher
// around it costs more than the filter itself.
func unless(name string, input *xdscorev3.TypedExtensionConfig, text string, execute *compositev3.ExecuteFilterAction) (*hcmv3.HttpFilter, error) {
	nothing, err := action(&compositev3.ExecuteFilterAction{FilterChainName: nowhere})
	if err != nil {
		return nil, err
	}
	matcher := exactMatch(input, text, nothing)
	if matcher.OnNoMatch, err = action(execute); err != nil {
		return nil, err
	}
	return httpFilter(name, &compositev3.Composite{Matcher: matcher})
}

// exactMatch does what is given where the input is the text.
func exactMatch(input *xdscorev3.TypedExtensionConfig, text string, then *xdsmatcherv3.Matcher_OnMatch) *xdsmatcherv3.Matcher {
	return &xdsmatcherv3.Matcher{MatcherType: &xdsmatcherv3.Matcher_MatcherTree_{MatcherTree: &xdsmatcherv3.Matcher_MatcherTree{
		Input: input,
		TreeType: &xdsmatcherv3.Matcher_MatcherTree_ExactMatchMap{ExactMatchMap: &xdsmatcherv3.Matcher_MatcherTree_MatchMap{
			Map: map[string]*xdsmatcherv3.Matcher_OnMatch{text: then},
		}},
	}}}
}
