package sessionkey

import (
	"slices"
	"strings"

	statefulroute "github.com/stateful-route/stateful-route"
)

// MaxKey is the longest session key in bytes. A longer value counts as absent,
// so the next source is tried and, failing that, the request goes unbound: a
// client can then not fill the session table with a few huge keys.
const MaxKey = 4 << 10

// Reader reads from sources, in their order.
type Reader struct{ sources []Source }

// NewReader makes sources ready to be read, or says what is wrong with one.
func NewReader(specs []statefulroute.SessionSource) (*Reader, error) {
	r := &Reader{sources: make([]Source, len(specs))}
	for i, s := range specs {
		var err error
		if r.sources[i], err = open(s); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Key returns the request's session key, of the first source that has one, or ""
// when none has. source is the index of that source, -1 for none. The key is a copy:
// it may be kept for as long as a request is in flight, and a piece of a cookie or
// path would keep all of it.
func (r *Reader) Key(h Headers) (key string, source int) {
	for i, s := range r.sources {
		if k := s.Key(h); k != "" && len(k) <= MaxKey {
			return strings.Clone(k), i
		}
	}
	return "", -1
}

// Learned returns copies of the session ids that a response names, one of each
// Learner at most.
func (r *Reader) Learned(h Headers) []string {
	var ids []string
	for _, s := range r.sources {
		l, ok := s.(Learner)
		if !ok {
			continue
		}
		if id := l.Learned(h); id != "" && len(id) <= MaxKey {
			ids = append(ids, strings.Clone(id))
		}
	}
	return ids
}

// RequestHeaders are those that Envoy has to forward of a request, in lower case.
func (r *Reader) RequestHeaders() []string {
	var names []string
	for _, s := range r.sources {
		names = append(names, s.RequestHeaders()...)
	}
	return names
}

// ResponseHeaders are those that Envoy has to forward of a response for Learned.
func (r *Reader) ResponseHeaders() []string {
	var names []string
	for _, s := range r.sources {
		if l, ok := s.(Learner); ok {
			names = append(names, l.ResponseHeaders()...)
		}
	}
	return names
}

// InPath reports whether a path, or the query after it, may hold a session key.
func (r *Reader) InPath() bool { return slices.Contains(r.RequestHeaders(), pathHeader) }
