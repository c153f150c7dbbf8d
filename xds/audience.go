package xds

import "github.com/stateful-route/stateful-route/wire"

// Audience is one of the two kinds of xDS client.
type Audience uint8

// Envoys route requests; Extprocs choose the pods they are routed to.
const (
	Envoys Audience = iota
	Extprocs
)

func (a Audience) String() string {
	if a == Extprocs {
		return "extproc"
	}
	return "envoy"
}

// audienceOf tells an extproc by its user agent; anything else is an Envoy.
func audienceOf(userAgent string) Audience {
	if userAgent == wire.UserAgent {
		return Extprocs
	}
	return Envoys
}
