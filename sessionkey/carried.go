package sessionkey

import (
	"net/url"
	"slices"
	"strings"
)

// Carried are the session ids that a request names, in whatever place of the
// sources, the first or not. They are copies, and all that is kept of its headers
// until the response: a stream may be open for hours.
type Carried []string

// Carried reads what the request names.
func (r *Reader) Carried(h Headers) Carried {
	var c Carried
	keep := func(value string) bool {
		if value != "" && (len(c) == 0 || c[len(c)-1] != value) {
			c = append(c, kept(value))
		}
		return false
	}
	for _, s := range r.sources {
		s.AnyValue(h, keep)
	}
	return c
}

// Names reports whether the request named the session id.
func (c Carried) Names(id string) bool {
	id = kept(id)
	return slices.ContainsFunc(c, func(value string) bool { return sameID(value, id) })
}

// kept is a copy of what names an id: of a long one the hash of what sameID compares.
func kept(id string) string {
	if len(id) > keptBytes {
		return TableKey(plainID(id))
	}
	return strings.Clone(id)
}

// sameID compares two spellings of a session id by their letters and digits:
// pods differ in what they make of case, quotes, escapes and separators, and a
// client that can choose the spelling must not gain by it.
func sameID(a, b string) bool {
	if a == b {
		return true
	}
	c := plainID(a)
	return c != "" && c == plainID(b)
}

func plainID(id string) string {
	if decoded, err := url.PathUnescape(id); err == nil {
		id = decoded
	}
	return strings.Map(func(r rune) rune {
		switch {
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r >= 0x80:
			return r
		}
		return -1
	}, id)
}
