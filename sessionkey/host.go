package sessionkey

import (
	"strings"

	statefulroute "github.com/stateful-route/stateful-route"
)

// authorityHeader is what Envoy calls Host, of every version of HTTP.
const authorityHeader = ":authority"

// hostSource is the host that a request is for: a session for each subdomain. It is no
// Learner, for a response has no Host.
type hostSource struct{}

func (hostSource) Spec() statefulroute.SessionSource {
	return statefulroute.SessionSource{Kind: statefulroute.FromHeader, Name: authorityHeader}
}

func (hostSource) RequestHeaders() []string { return []string{authorityHeader} }

func (hostSource) Keys(h Headers, take func(string) bool) { take(hostName(h.Value(authorityHeader))) }

func (hostSource) AnyValue(h Headers, is func(string) bool) bool {
	return is(hostName(h.Value(authorityHeader)))
}

// hostName is a host as all its spellings are the same: without port and trailing dot,
// in lower case.
func hostName(authority string) string {
	if i := strings.LastIndexByte(authority, ':'); i > strings.LastIndexByte(authority, ']') {
		authority = authority[:i]
	}
	return strings.ToLower(strings.TrimSuffix(authority, "."))
}

// refusePseudo says why a part of the request line is no session key, if that is what
// the name of a header stands for.
func refusePseudo(name string, refuse func(reason string)) (refused bool) {
	switch name {
	case ":path":
		refuse(`":path" is no header: take a query parameter (query) or a part of the path (path)`)
	case ":method", ":scheme", ":protocol", ":status":
		refuse(`"` + name + `" names no session: requests of many sessions have the same`)
	default:
		return false
	}
	return true
}
