package sessionkey

import "slices"

// Header is one value of a header.
type Header struct{ Key, Value string }

// Headers is a header map as Envoy sends it: lower-case names in order, a
// repeated header as repeated entries. Lists are short (forward_rules keeps
// them so), which makes a scan cheaper than building a map. The texts are pieces of
// the message in which they came: what is kept of them has to be a copy.
type Headers []Header

// Value returns the first non-empty value of the header called name, which
// must be in lower case.
func (h Headers) Value(name string) string {
	for i := range h {
		if h[i].Key == name && h[i].Value != "" {
			return h[i].Value
		}
	}
	return ""
}

// anyValue reports whether is holds for any value of the header called name,
// which must be in lower case.
func (h Headers) anyValue(name string, is func(string) bool) bool {
	return slices.ContainsFunc(h, func(v Header) bool { return v.Key == name && is(v.Value) })
}
