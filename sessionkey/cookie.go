package sessionkey

import (
	"strconv"
	"strings"
)

// cookieValue returns the first non-empty value of the cookie called name in
// one Cookie header, reading it as net/http does: pairs with an invalid name
// or value are skipped, quotes around a value are dropped.
func cookieValue(header, name string) string {
	for header != "" {
		var pair string
		pair, header, _ = strings.Cut(header, ";")
		n, v, _ := strings.Cut(trimSpace(pair), "=")
		if trimSpace(n) != name {
			continue
		}
		if v, ok := parseCookieValue(v); ok && v != "" {
			return v
		}
	}
	return ""
}

// setCookieValue returns the value that one Set-Cookie header gives to the
// cookie called name, and "" for another cookie or one being deleted: a pod
// that ends a session does not create one.
func setCookieValue(header, name string) string {
	pair, attributes, _ := strings.Cut(header, ";")
	n, v, _ := strings.Cut(trimSpace(pair), "=")
	if trimSpace(n) != name || deletesCookie(attributes) {
		return ""
	}
	v, ok := parseCookieValue(trimSpace(v))
	if !ok {
		return ""
	}
	return v
}

// deletesCookie reports whether the last Max-Age of Set-Cookie attributes that is
// a number, read as net/http does, is zero or negative.
func deletesCookie(attributes string) (deletes bool) {
	for attributes != "" {
		var a string
		a, attributes, _ = strings.Cut(attributes, ";")
		n, v, _ := strings.Cut(trimSpace(a), "=")
		if !strings.EqualFold(n, "max-age") {
			continue
		}
		if secs, err := strconv.Atoi(v); err == nil && (secs == 0 || v[0] != '0') {
			deletes = secs <= 0
		}
	}
	return deletes
}

func parseCookieValue(v string) (string, bool) {
	if len(v) > 1 && v[0] == '"' && v[len(v)-1] == '"' {
		v = v[1 : len(v)-1]
	}
	for i := range len(v) {
		if !validCookieByte(v[i]) {
			return "", false
		}
	}
	return v, true
}

func validCookieByte(b byte) bool {
	return 0x20 <= b && b < 0x7f && b != '"' && b != ';' && b != '\\'
}

// trimSpace trims what net/http trims around a cookie, and nothing that only
// Unicode calls space.
func trimSpace(s string) string { return strings.Trim(s, " \t\r\n") }
