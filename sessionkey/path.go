package sessionkey

import (
	"fmt"
	"regexp"
	"strings"

	statefulroute "github.com/stateful-route/stateful-route"
)

// pathHeader is where Envoy has the path and the query.
const pathHeader = ":path"

// pathSource is the first group of a pattern in the path.
type pathSource struct{ pattern *regexp.Regexp }

func openPath(s statefulroute.SessionSource, refuse Refuse) Source {
	pattern, err := regexp.Compile(s.Name)
	switch {
	case err != nil:
		refuse("", fmt.Sprintf("not an RE2 pattern: %v", err))
	case pattern.NumSubexp() == 0:
		refuse("", fmt.Sprintf("%q needs a group (…): its first group is the session key", s.Name))
	}
	return &pathSource{pattern}
}

func (s *pathSource) Spec() statefulroute.SessionSource {
	return statefulroute.SessionSource{Kind: statefulroute.FromPath, Name: s.pattern.String()}
}

func (s *pathSource) RequestHeaders() []string { return []string{pathHeader} }

func (s *pathSource) Keys(h Headers, take func(string) bool) { take(decoded(s.group(h))) }

func (s *pathSource) AnyValue(h Headers, is func(string) bool) bool { return eitherWay(s.group(h), is) }

// group is the first group of the pattern in the path as it was sent, so that an
// escaped slash does not end a segment.
func (s *pathSource) group(h Headers) string {
	path, _, _ := strings.Cut(h.Value(pathHeader), "?")
	path, _, _ = strings.Cut(path, "#")
	m := s.pattern.FindStringSubmatchIndex(path)
	if len(m) < 4 || m[2] < 0 {
		return ""
	}
	return path[m[2]:m[3]]
}
