package sessionkey

import "net/url"

// decoded undoes the percent-encoding of a value, so that an id is one key in whatever
// place it travels: clients and pods encode it in cookies and headers as they do in
// URLs, or not. A value that does not decode is taken as it is.
func decoded(value string) string {
	if u, err := url.PathUnescape(value); err == nil {
		return u
	}
	return value
}

// eitherWay reports whether is holds for a value as it was sent, or decoded.
func eitherWay(value string, is func(string) bool) bool {
	if is(value) {
		return true
	}
	u := decoded(value)
	return u != value && is(u)
}
