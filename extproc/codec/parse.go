package codec

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/stateful-route/stateful-route/sessionkey"
	"github.com/stateful-route/stateful-route/wire"
)

// The numbers of the fields that Envoy sends with every callout, by their messages.
const (
	fieldRequestHeaders  = 2 // ProcessingRequest
	fieldResponseHeaders = 3
	fieldMetadata        = 8
	fieldAttributes      = 9
	fieldProtocolConfig  = 11

	fieldHeaders     = 1 // HttpHeaders
	fieldEndOfStream = 3

	fieldHeader = 1 // HeaderMap

	fieldKey      = 1 // HeaderValue, and the entry of a map
	fieldValue    = 2
	fieldRawValue = 3

	fieldFields      = 1 // Struct
	fieldStringValue = 3 // Value
)

// parse reads a message that has headers and what Envoy sends along with them, each once. It
// returns false for any other, and for a damaged one.
func (m *Message) parse(p piece) bool {
	*m = Message{}
	attributes := false
	f := fields{rest: p}
	for f.next() {
		ok := false
		switch {
		case f.is(fieldRequestHeaders) && m.Kind == None:
			m.Kind = RequestHeaders
			ok = m.httpHeaders(f.value)
		case f.is(fieldResponseHeaders) && m.Kind == None:
			m.Kind = ResponseHeaders
			ok = m.httpHeaders(f.value)
		case f.is(fieldAttributes) && !attributes:
			attributes = true
			ok = m.attributes(f.value)
		case f.is(fieldMetadata):
			ok = len(f.value.raw) == 0 // Envoy sends it, though it has none to forward
		case f.is(fieldProtocolConfig):
			ok = plainNumbers(f.value)
		}
		if !ok {
			return false
		}
	}
	return !f.bad && m.Kind != None
}

func (m *Message) httpHeaders(p piece) bool {
	f, seen := fields{rest: p}, false
	for f.next() {
		switch {
		case f.is(fieldHeaders) && !seen:
			seen = true
			if !m.headerMap(f.value) {
				return false
			}
		case f.number == fieldEndOfStream && f.kind == protowire.VarintType:
		default:
			return false
		}
	}
	return !f.bad
}

func (m *Message) headerMap(p piece) bool {
	m.Headers = m.few[:0]
	f := fields{rest: p}
	for f.next() {
		if !f.is(fieldHeader) {
			return false
		}
		h, ok := headerValue(f.value)
		if !ok {
			return false
		}
		m.Headers = append(m.Headers, h)
	}
	return !f.bad
}

// headerValue reads a header, of which raw_value counts unless it is empty.
func headerValue(p piece) (h sessionkey.Header, ok bool) {
	raw := ""
	f := fields{rest: p}
	for f.next() {
		switch {
		case f.is(fieldKey) && f.value.isString():
			h.Key = f.value.text
		case f.is(fieldValue) && f.value.isString():
			h.Value = f.value.text
		case f.is(fieldRawValue):
			raw = f.value.text
		default:
			return h, false
		}
	}
	if raw != "" {
		h.Value = raw
	}
	return h, !f.bad
}

// attributes reads an entry of the map of them: a filter's name and a Struct.
func (m *Message) attributes(p piece) bool {
	_, value, ok := mapEntry(p)
	if !ok {
		return false
	}
	f := fields{rest: value}
	for f.next() {
		if !f.is(fieldFields) {
			return false
		}
		key, value, ok := mapEntry(f.value)
		if !ok {
			return false
		}
		text, ok := stringValue(value)
		if !ok {
			return false
		}
		switch key {
		case wire.UpstreamAddressAttribute:
			m.Upstream = text
		case wire.RequestTimeAttribute:
			m.RequestTime = text
		}
	}
	return !f.bad
}

// mapEntry reads an entry of a map of messages.
func mapEntry(p piece) (key string, value piece, ok bool) {
	f, seen := fields{rest: p}, false
	for f.next() {
		switch {
		case f.is(fieldKey) && f.value.isString():
			key = f.value.text
		case f.is(fieldValue) && !seen:
			seen, value = true, f.value
		default:
			return "", piece{}, false
		}
	}
	return key, value, !f.bad
}

// stringValue reads a Value that is a text.
func stringValue(p piece) (text string, ok bool) {
	f := fields{rest: p}
	for f.next() {
		if !f.is(fieldStringValue) || !f.value.isString() {
			return "", false
		}
		text = f.value.text
	}
	return text, !f.bad
}

// plainNumbers reports whether a message has nothing but numbers, of which none is read here.
func plainNumbers(p piece) bool {
	f := fields{rest: p}
	for f.next() {
		if f.kind != protowire.VarintType {
			return false
		}
	}
	return !f.bad
}
