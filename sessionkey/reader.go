package sessionkey

import (
	"slices"
	"strings"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

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

// MaxCandidates is how many keys of one request are looked up at most: a client can
// then not have thousands looked up for it.
const MaxCandidates = 16

// Keys returns the request's session keys, all of the first source that has one, in
// their order and as the table calls them: several cookies of one name, say, of which
// one is stale. None is there twice. source is the index of that source, -1 for none. The keys are copies: they may
// be kept for as long as a request is in flight, and a piece of a cookie or path would
// keep all of it.
func (r *Reader) Keys(h Headers) (keys []string, source int) {
	for i, s := range r.sources {
		s.Keys(h, func(key string) (more bool) {
			if key == "" || len(key) > MaxKey {
				return true
			}
			if key = TableKey(key); !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
			return len(keys) < MaxCandidates
		})
		if len(keys) > 0 {
			return keys, i
		}
	}
	return nil, -1
}

// TooLong reports whether the request names a session by more than MaxKey bytes.
func (r *Reader) TooLong(h Headers) bool {
	if !slices.ContainsFunc(h, func(v Header) bool { return len(v.Value) > MaxKey }) {
		return false // none is as long as that: the sources need not be asked
	}
	return slices.ContainsFunc(r.sources, func(s Source) (found bool) {
		s.Keys(h, func(key string) (more bool) {
			found = found || len(key) > MaxKey
			return !found
		})
		return found
	})
}

// Learned returns copies of the session ids that a response names and that its client
// keeps after now, and how many of them are too long to be taken. The table calls them
// by their TableKey.
func (r *Reader) Learned(h Headers, now time.Time) (ids []string, tooLong int) {
	for _, s := range r.sources {
		l, ok := s.(Learner)
		if !ok {
			continue
		}
		for _, id := range l.Learned(h, now) {
			switch {
			case len(id) > MaxKey:
				tooLong++
			case !slices.Contains(ids, id):
				ids = append(ids, strings.Clone(id))
			}
		}
	}
	return ids, tooLong
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
