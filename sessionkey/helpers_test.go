package sessionkey

import (
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// raw builds headers as Envoy sends them, from name, value pairs.
func raw(pairs ...string) Headers {
	var h Headers
	for i := 0; i < len(pairs); i += 2 {
		h = append(h, Header{pairs[i], pairs[i+1]})
	}
	return h
}

func from(kind statefulroute.SourceKind, name string) statefulroute.SessionSource {
	return statefulroute.SessionSource{Kind: kind, Name: name}
}

// t0 is the moment of tests.
var t0 = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// firstKey is the key that a request's session is known by where none is bound.
func firstKey(r *Reader, h Headers) string {
	if keys, _ := r.Keys(h); len(keys) > 0 {
		return keys[0]
	}
	return ""
}
