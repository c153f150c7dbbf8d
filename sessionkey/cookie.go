package sessionkey

import (
	"fmt"
	"slices"
	"strings"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
)

// cookieSource is the value of a cookie, as user agents send it: they keep bytes of
// which net/http drops the whole cookie, such as a quote or what is not ASCII.
type cookieSource struct{ name string }

func openCookie(s statefulroute.SessionSource, refuse Refuse) Source {
	if !isToken(s.Name) {
		refuse("", fmt.Sprintf("%q is not a cookie name", s.Name))
	}
	return &cookieSource{s.Name}
}

func (s *cookieSource) Spec() statefulroute.SessionSource {
	return statefulroute.SessionSource{Kind: statefulroute.FromCookie, Name: s.name}
}

func (s *cookieSource) RequestHeaders() []string  { return []string{"cookie"} }
func (s *cookieSource) ResponseHeaders() []string { return []string{"set-cookie"} }

// Keys takes every cookie of the name: a client that has several, of other paths or
// domains, sends all of them, and HTTP/2 clients may send a Cookie header for each.
func (s *cookieSource) Keys(h Headers, take func(string) bool) {
	s.values(h, func(value string) bool { return !take(decoded(value)) })
}

func (s *cookieSource) AnyValue(h Headers, is func(string) bool) bool {
	return s.values(h, func(value string) bool { return eitherWay(value, is) })
}

// values reports whether is holds for any value of the cookie, as it was sent.
func (s *cookieSource) values(h Headers, is func(string) bool) bool {
	return h.anyValue("cookie", func(text string) bool {
		for pair := range strings.SplitSeq(text, ";") {
			if name, value := cookiePair(pair); name == s.name && is(value) {
				return true
			}
		}
		return false
	})
}

// Learned returns what a client keeps of the response's cookies of that name: of each
// domain and path the last, unless that deletes it.
func (s *cookieSource) Learned(h Headers, now time.Time) []string {
	var kept []setCookie
	h.anyValue("set-cookie", func(text string) bool {
		c := parseSetCookie(text)
		if c.name != s.name {
			return false
		}
		kept = slices.DeleteFunc(kept, c.replaces)
		if c.value != "" && !c.deletedAt(now) {
			kept = append(kept, c)
		}
		return false
	})
	var ids []string
	for _, c := range kept {
		ids = append(ids, decoded(c.value))
	}
	return ids
}

// cookiePair takes NAME=VALUE apart as user agents do: blanks around either are no
// part of it, quotes are.
func cookiePair(pair string) (name, value string) {
	name, value, _ = strings.Cut(pair, "=")
	return trimSpace(name), trimSpace(value)
}

// trimSpace trims what is no part of a cookie's name or value, and nothing that only
// Unicode calls space.
func trimSpace(s string) string { return strings.Trim(s, " \t\r\n") }
