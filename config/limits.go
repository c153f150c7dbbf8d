package config

// ClientLimits bound the gRPC clients of a process; what is 0 has the default of
// the process, which its README row says.
type ClientLimits struct {
	// Connections is how many clients may be connected.
	Connections int
	// Streams is how many streams may be open on all connections; at least one for
	// each.
	Streams int
}

type rawLimits struct {
	Connections *int `yaml:"connections"`
	Streams     *int `yaml:"streams"`
}

func (raw *rawLimits) check(doc *document, at path) ClientLimits {
	l := ClientLimits{Connections: or(raw.Connections, 0), Streams: or(raw.Streams, 0)}
	// One that is written is meant: nobody means 0 by 0.
	if raw.Connections != nil && l.Connections < 1 {
		doc.Refuse(at.With("connections"), "must be at least 1")
	}
	if raw.Streams != nil && l.Streams < max(1, l.Connections) {
		doc.Refuse(at.With("streams"), "must be at least 1, and at least as many as connections")
	}
	return l
}
