package sessionkey

import (
	"net/url"
	"slices"
	"strings"

	statefulroute "github.com/stateful-route/stateful-route"
)

// querySource is the value of a query parameter.
type querySource struct{ name string }

func openQuery(s statefulroute.SessionSource, refuse Refuse) Source {
	if s.Name == "" {
		refuse("", "must not be empty")
	}
	return &querySource{s.Name}
}

func (s *querySource) Spec() statefulroute.SessionSource {
	return statefulroute.SessionSource{Kind: statefulroute.FromQuery, Name: s.name}
}

func (s *querySource) RequestHeaders() []string { return []string{pathHeader} }

func (s *querySource) Key(h Headers) string {
	_, query, _ := strings.Cut(h.Value(pathHeader), "?")
	return queryValue(query, s.name)
}

func (s *querySource) AnyValue(h Headers, is func(string) bool) bool {
	_, query, _ := strings.Cut(h.Value(pathHeader), "?")
	return slices.ContainsFunc(strings.Split(query, "&"), func(pair string) bool {
		name, value, _ := strings.Cut(pair, "=")
		if decoded, err := url.QueryUnescape(name); err == nil {
			name = decoded
		}
		return name == s.name && is(value)
	})
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
