package build

import (
	"fmt"
	"regexp"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
	"github.com/stateful-route/stateful-route/xds/state"
)

// affine reports whether a session's callouts go to one replica: Envoy puts what may
// be its key into the metadata of the callout, and the cluster picks by a hash of it.
func affine(g state.Gateway) bool { return g.SessionAffinity && replicated(g) }

// mostKeyMetadata is how many sources a hash can be of. It is a constant so that a
// change of a service does not change the cluster, which would cut its connections.
const mostKeyMetadata = 8

// maxHashed is how much of a source is in the metadata, in bytes. extproc takes 16 KiB
// of headers for a stream, and a session key may be longer than that.
const maxHashed = 256

// plainName is a name that can stand in a format string of Envoy's as it is.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// keyMetadata is the service's session sources in their order, as metadata of its
// callouts; an absent one is left out. Only a replica is chosen by it, and any can
// decide, so that sources that Envoy cannot name here, as cookies, and how keys are
// decoded do not matter.
func keyMetadata(svc statefulroute.Service) []*corev3.HeaderValue {
	var out []*corev3.HeaderValue
	for _, source := range svc.Session.Key {
		if value, ok := formatOf(source); ok && len(out) < mostKeyMetadata {
			out = append(out, &corev3.HeaderValue{Key: keyMetadataName(len(out)), Value: value})
		}
	}
	return out
}

func keyMetadataName(i int) string { return fmt.Sprintf("%s%d", wire.KeyMetadata, i) }

func formatOf(s statefulroute.SessionSource) (value string, ok bool) {
	command := map[statefulroute.SourceKind]string{
		statefulroute.FromHeader: "REQ", statefulroute.FromQuery: "QUERY_PARAM",
	}[s.Kind]
	if command == "" || !plainName.MatchString(s.Name) {
		return "", false
	}
	return fmt.Sprintf("%%%s(%s):%d%%", command, s.Name, maxHashed), true
}

// hashPolicies pick by the first source that is present.
func hashPolicies() []*routev3.RouteAction_HashPolicy {
	out := make([]*routev3.RouteAction_HashPolicy, mostKeyMetadata)
	for i := range out {
		out[i] = &routev3.RouteAction_HashPolicy{
			PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: keyMetadataName(i)}},
			Terminal:        true,
		}
	}
	return out
}
