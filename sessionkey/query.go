package sessionkey

import (
	"net/url"
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

func (s *querySource) Keys(h Headers, take func(string) bool) {
	s.values(h, func(value string) bool { return !take(queryDecoded(value)) })
}

func (s *querySource) AnyValue(h Headers, is func(string) bool) bool {
	return s.values(h, func(value string) bool {
		return is(value) || is(queryDecoded(value))
	})
}

// values reports whether is holds for any value of the parameter, as it was sent.
func (s *querySource) values(h Headers, is func(string) bool) bool {
	_, query, _ := strings.Cut(h.Value(pathHeader), "?")
	query, _, _ = strings.Cut(query, "#")
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if (name == s.name || queryDecoded(name) == s.name) && is(value) {
			return true
		}
	}
	return false
}

// queryDecoded is decoded as forms are: "+" is a space. What does not decode is taken
// as it is.
func queryDecoded(text string) string {
	if u, err := url.QueryUnescape(text); err == nil {
		return u
	}
	return text
}
