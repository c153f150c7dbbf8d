package sessionkey

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// Headers is a header map as Envoy sends it: lower-case names in order, a
// repeated header as repeated entries. Lists are short (forward_rules keeps
// them so), which makes a scan cheaper than building a map.
type Headers []*corev3.HeaderValue

// Value returns the first non-empty value of the header called name, which
// must be in lower case.
func (h Headers) Value(name string) string {
	for _, v := range h {
		if v.GetKey() != name {
			continue
		}
		if s := headerText(v); s != "" {
			return s
		}
	}
	return ""
}

// anyValue reports whether is holds for any value of the header called name,
// which must be in lower case.
func (h Headers) anyValue(name string, is func(string) bool) bool {
	return slices.ContainsFunc(h, func(v *corev3.HeaderValue) bool {
		return v.GetKey() == name && is(headerText(v))
	})
}

// headerText reads either field of a header value: Envoy fills raw_value
// unless it was built to fill value.
func headerText(v *corev3.HeaderValue) string {
	if raw := v.GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return v.GetValue()
}
