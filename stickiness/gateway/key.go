package gateway

import (
	"errors"
	"fmt"
)

// KeyKind is who makes a session's id and who first says it.
type KeyKind string

// The kinds of keys.
const (
	// Header: the client chooses the id and sends it in the header Name with
	// every request, the first included.
	Header KeyKind = "header"
	// Cookie: the same in the cookie Name.
	Cookie KeyKind = "cookie"
	// IssuedCookie: the gateway sets a cookie with its first answer. The client
	// keeps every cookie that it is given, as a browser does; Name is the
	// cookie's name, by which schedules make stale, doubled and forged ones.
	IssuedCookie KeyKind = "issued-cookie"
	// LearnedCookie: the pod sets the cookie Name with its first answer to a
	// session, and the gateway learns it from there.
	LearnedCookie KeyKind = "learned-cookie"
	// LearnedHeader: the same with a response header, which the client then
	// sends as a request header.
	LearnedHeader KeyKind = "learned-header"
)

// Key is how a session is named to the gateway.
type Key struct {
	Kind KeyKind
	Name string
}

// ClientChooses reports whether the client chooses the id.
func (k Key) ClientChooses() bool { return k.Kind == Header || k.Kind == Cookie }

// InCookie reports whether the key travels in a cookie.
func (k Key) InCookie() bool {
	return k.Kind == Cookie || k.Kind == IssuedCookie || k.Kind == LearnedCookie
}

func (k Key) validate() error {
	switch k.Kind {
	case Header, Cookie, IssuedCookie, LearnedCookie, LearnedHeader:
	default:
		return fmt.Errorf("key: no kind %q", k.Kind)
	}
	if k.Name == "" {
		return errors.New("key: has no name")
	}
	return nil
}
