package wire

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

// AudienceOf tells an extproc by its user agent; anything else is an Envoy.
func AudienceOf(userAgent string) Audience {
	if userAgent == UserAgent {
		return Extprocs
	}
	return Envoys
}
