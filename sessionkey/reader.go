package sessionkey

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	statefulroute "github.com/stateful-route/stateful-route"
)

// MaxKey is the longest session key in bytes. A longer value counts as absent,
// so the next source is tried and, failing that, the request goes unbound: a
// client can then not fill the session table with a few huge keys.
const MaxKey = 4 << 10

// KeyReader finds the session key of a request: sources in order, the first
// that is present and not empty wins.
type KeyReader struct {
	sources []keySource
}

type keySource struct {
	kind    statefulroute.SourceKind
	name    string         // lower case for a header
	pattern *regexp.Regexp // for a path
}

// NewKeyReader compiles sources. An unknown kind, an empty name and a path
// pattern that is not RE2 or has no group are errors.
func NewKeyReader(sources []statefulroute.SessionSource) (*KeyReader, error) {
	r := &KeyReader{sources: make([]keySource, 0, len(sources))}
	for _, s := range sources {
		c, err := compileSource(s)
		if err != nil {
			return nil, fmt.Errorf("session key from %s %q: %w", s.Kind, s.Name, err)
		}
		r.sources = append(r.sources, c)
	}
	return r, nil
}

func compileSource(s statefulroute.SessionSource) (keySource, error) {
	c := keySource{kind: s.Kind, name: s.Name}
	if s.Name == "" {
		return c, errors.New("the name is empty")
	}
	switch s.Kind {
	case statefulroute.FromHeader:
		c.name = strings.ToLower(s.Name)
	case statefulroute.FromCookie, statefulroute.FromQuery:
	case statefulroute.FromPath:
		p, err := regexp.Compile(s.Name)
		if err != nil {
			return c, err
		}
		if p.NumSubexp() < 1 {
			return c, errors.New("the pattern has no group")
		}
		c.pattern = p
	default:
		return c, errors.New("unknown kind of source")
	}
	return c, nil
}

// Key returns the request's session key, or "" when it has none. source is the
// index of the source that held it, -1 for none. The key is a copy: it may be kept
// for as long as a request is in flight, and a piece of a cookie or path would keep
// all of it.
func (r *KeyReader) Key(h Headers) (key string, source int) {
	for i := range r.sources {
		if k := r.sources[i].read(h); k != "" && len(k) <= MaxKey {
			return strings.Clone(k), i
		}
	}
	return "", -1
}

func (s *keySource) read(h Headers) string {
	switch s.kind {
	case statefulroute.FromHeader:
		return h.Value(s.name)
	case statefulroute.FromCookie:
		return s.fromCookies(h)
	case statefulroute.FromQuery:
		_, query, _ := strings.Cut(h.Value(":path"), "?")
		return queryValue(query, s.name)
	default:
		path, _, _ := strings.Cut(h.Value(":path"), "?")
		return pathValue(path, s.pattern)
	}
}

// fromCookies looks through every Cookie header: HTTP/2 clients may send one
// per cookie.
func (s *keySource) fromCookies(h Headers) string {
	for _, v := range h {
		if v.GetKey() != "cookie" {
			continue
		}
		if c := cookieValue(headerText(v), s.name); c != "" {
			return c
		}
	}
	return ""
}

// queryValue returns the first non-empty, well-formed value of the parameter
// called name, decoded as a form is ("+" is a space).
func queryValue(query, name string) string {
	query, _, _ = strings.Cut(query, "#")
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		n, v, _ := strings.Cut(pair, "=")
		if n != name {
			if u, err := url.QueryUnescape(n); err != nil || u != name {
				continue
			}
		}
		if u, err := url.QueryUnescape(v); err == nil && u != "" {
			return u
		}
	}
	return ""
}

// pathValue matches the path as it was sent, so that an escaped slash does not
// end a segment, and decodes the first group, so that two spellings of one
// path name one session. What does not decode is taken as it is.
func pathValue(path string, pattern *regexp.Regexp) string {
	path, _, _ = strings.Cut(path, "#")
	m := pattern.FindStringSubmatchIndex(path)
	if len(m) < 4 || m[2] < 0 {
		return ""
	}
	group := path[m[2]:m[3]]
	if u, err := url.PathUnescape(group); err == nil {
		return u
	}
	return group
}
