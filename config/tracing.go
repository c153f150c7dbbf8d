package config

type rawTracing struct {
	OTLP   *string  `yaml:"otlp"`
	Sample *float64 `yaml:"sample"`
}

// check returns the zero Tracing, which is off, for an absent section.
func (raw *rawTracing) check(doc *document, at path) Tracing {
	if raw == nil {
		return Tracing{}
	}
	t := Tracing{OTLP: or(raw.OTLP, ""), Sample: or(raw.Sample, 100)}
	if t.OTLP == "" {
		doc.Refuse(at.With("otlp"), "tracing needs the IP:PORT of an OTLP/gRPC collector")
	} else {
		doc.listenAddress(at.With("otlp"), t.OTLP)
	}
	if !(t.Sample >= 0 && t.Sample <= 100) { // not so for NaN either
		doc.Refuse(at.With("sample"), "%v must be a percentage from 0 to 100", t.Sample)
	}
	return t
}
