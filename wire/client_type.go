package wire

// ClientType is one of the two kinds of xDS client.
type ClientType uint8

// Envoy routes requests; Extproc chooses the pods they are routed to.
const (
	Envoy ClientType = iota
	Extproc
)

func (a ClientType) String() string {
	if a == Extproc {
		return "extproc"
	}
	return "envoy"
}

// ClientTypeOf tells an extproc by its user agent; anything else is an Envoy.
func ClientTypeOf(userAgent string) ClientType {
	if userAgent == UserAgent {
		return Extproc
	}
	return Envoy
}
