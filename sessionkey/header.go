package sessionkey

import (
	"fmt"
	"slices"
	"strings"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

// headerSource is the value of a header.
type headerSource struct{ name string } // in lower case

func openHeader(s statefulroute.SessionSource, refuse Refuse) Source {
	if name := strings.ToLower(s.Name); name == "host" || name == authorityHeader {
		return hostSource{}
	}
	return &headerSource{checkHeader(s.Name, func(reason string) { refuse("", reason) })}
}

// checkHeader returns the name of a header in lower case, or says what is wrong with it.
func checkHeader(text string, refuse func(reason string)) (name string) {
	name = strings.ToLower(text)
	if refusePseudo(name, refuse) {
		return name
	}
	if !isToken(name) {
		refuse(fmt.Sprintf("%q is not a header name", text))
	}
	if strings.HasPrefix(name, wire.HeaderPrefix) {
		refuse(fmt.Sprintf("%q is internal: it is stripped from requests", text))
	}
	return name
}

func (s *headerSource) Spec() statefulroute.SessionSource {
	return statefulroute.SessionSource{Kind: statefulroute.FromHeader, Name: s.name}
}

func (s *headerSource) RequestHeaders() []string  { return []string{s.name} }
func (s *headerSource) ResponseHeaders() []string { return []string{s.name} }

func (s *headerSource) Keys(h Headers, take func(string) bool) {
	h.anyValue(s.name, func(text string) bool { return !take(decoded(text)) })
}

func (s *headerSource) Learned(h Headers, _ time.Time) []string {
	if id := h.Value(s.name); id != "" {
		return []string{decoded(id)}
	}
	return nil
}

// AnyValue takes what a pod may read as a list apart, too.
func (s *headerSource) AnyValue(h Headers, is func(string) bool) bool {
	return h.anyValue(s.name, func(text string) bool {
		return eitherWay(text, is) || slices.ContainsFunc(strings.Split(text, ","), func(one string) bool { return eitherWay(one, is) })
	})
}
