package codec

import (
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// piece is a part of a message, as bytes to be taken apart and as text to be kept.
type piece struct {
	raw  []byte
	text string
}

func (p piece) cut(from, to int) piece { return piece{p.raw[from:to], p.text[from:to]} }

// isString reports whether it may be the value of a string, which has to be UTF-8.
func (p piece) isString() bool { return utf8.ValidString(p.text) }

// fields goes through the fields of a message, of which it knows two types.
type fields struct {
	rest piece
	bad  bool // there is something else, or it is damaged

	number protowire.Number
	kind   protowire.Type // BytesType or VarintType
	value  piece          // of BytesType
}

// next goes to the next field; there is none after something bad.
func (f *fields) next() bool {
	if len(f.rest.raw) == 0 {
		return false
	}
	number, kind, n := protowire.ConsumeTag(f.rest.raw)
	if n < 0 {
		f.bad = true
		return false
	}
	f.number, f.kind = number, kind
	size := 0
	switch kind {
	case protowire.BytesType:
		var value []byte
		value, size = protowire.ConsumeBytes(f.rest.raw[n:])
		if size >= 0 {
			f.value = f.rest.cut(n+size-len(value), n+size)
		}
	case protowire.VarintType:
		_, size = protowire.ConsumeVarint(f.rest.raw[n:])
	default:
		size = -1
	}
	if size < 0 {
		f.bad = true
		return false
	}
	f.rest = f.rest.cut(n+size, len(f.rest.raw))
	return true
}

// is reports whether the field has this number and is of BytesType.
func (f *fields) is(number protowire.Number) bool {
	return f.number == number && f.kind == protowire.BytesType
}
