package sessionkey

import (
	"strings"

	statefulroute "github.com/stateful-route/stateful-route"
)

// LearnedID reads a copy of a session id from the headers of a response, "" for none.
func LearnedID(source statefulroute.SessionSource, h Headers) string {
	id := ""
	if source.Kind == statefulroute.FromHeader {
		id = h.Value(source.Name)
	} else {
		id = learnedCookie(source.Name, h)
	}
	if len(id) > MaxKey {
		return ""
	}
	return strings.Clone(id) // not a piece of the response's headers
}

// learnedCookie returns what the last Set-Cookie of that name says, which is
// what a client keeps.
func learnedCookie(name string, h Headers) string {
	id := ""
	for _, v := range h {
		if v.GetKey() != "set-cookie" {
			continue
		}
		if c := setCookieValue(headerText(v), name); c != "" {
			id = c
		}
	}
	return id
}
