package sessionkey

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

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

// Key returns the first value that is not empty. HTTP/2 clients may send a Cookie
// header for each cookie.
func (s *cookieSource) Key(h Headers) (key string) {
	h.anyValue("cookie", func(text string) bool {
		key = cookieValue(text, s.name)
		return key != ""
	})
	return key
}

func (s *cookieSource) AnyValue(h Headers, is func(string) bool) bool {
	return h.anyValue("cookie", func(text string) bool {
		return slices.ContainsFunc(strings.Split(text, ";"), func(pair string) bool {
			name, value, _ := strings.Cut(pair, "=")
			return trimSpace(name) == s.name && is(trimSpace(value))
		})
	})
}

// Learned returns what the last Set-Cookie of that name says, which is what a client
// keeps.
func (s *cookieSource) Learned(h Headers) (id string) {
	h.anyValue("set-cookie", func(text string) bool {
		if value := setCookieValue(text, s.name); value != "" {
			id = value
		}
		return false
	})
	return id
}

// cookieValue returns the first non-empty value of the cookie called name in one
// Cookie header.
func cookieValue(header, name string) string {
	for pair := range strings.SplitSeq(header, ";") {
		n, v, _ := strings.Cut(pair, "=")
		if trimSpace(n) != name {
			continue
		}
		if v = unquoted(v); v != "" {
			return v
		}
	}
	return ""
}

// setCookieValue returns the value that one Set-Cookie header gives to the cookie
// called name, and "" for another cookie or one being deleted: a pod that ends a
// session does not create one.
func setCookieValue(header, name string) string {
	pair, attributes, _ := strings.Cut(header, ";")
	n, v, _ := strings.Cut(pair, "=")
	if trimSpace(n) != name {
		return ""
	}
	if c, err := http.ParseSetCookie("n=v;" + attributes); err == nil && c.MaxAge < 0 {
		return ""
	}
	return unquoted(v)
}

// unquoted is a cookie's value without the quotes around it, if there are any.
func unquoted(v string) string {
	v = trimSpace(v)
	if len(v) > 1 && v[0] == '"' && v[len(v)-1] == '"' {
		return v[1 : len(v)-1]
	}
	return v
}

// trimSpace trims what is no part of a cookie's name or value, and nothing that only
// Unicode calls space.
func trimSpace(s string) string { return strings.Trim(s, " \t\r\n") }
