package sessionkey

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// MaxKey is the longest session key in bytes: a token or an assertion fits. A longer
// value counts as absent, see Reader.TooLong: the next source is tried and, failing
// that, the request goes unbound.
const MaxKey = 64 << 10

// keptBytes are as many of a key as the table keeps. A client can then not fill it with
// a few huge keys.
const keptBytes = 256

// hashMark is between the beginning of a key and its hash.
const hashMark = "#sha256:"

// TableKey returns what a session key is called in the table, in its file and by
// operators, as a copy: the key itself or, of one that is longer than 256 bytes, its
// first 256 (less where a character would be cut) and its SHA-256. No two keys are
// called the same, for what is called so is itself longer than 256 bytes.
func TableKey(key string) string {
	if len(key) <= keptBytes {
		return strings.Clone(key)
	}
	end := keptBytes
	for end > keptBytes-utf8.UTFMax && !utf8.RuneStart(key[end]) {
		end--
	}
	sum := sha256.Sum256([]byte(key))
	return key[:end] + hashMark + hex.EncodeToString(sum[:])
}

// IsTableKey reports whether a text is what TableKey calls a key, so that it need not be
// asked again.
func IsTableKey(text string) bool {
	hash := len(text) - 2*sha256.Size
	if hash < 0 || len(text) > keptBytes+len(hashMark)+2*sha256.Size {
		return len(text) <= keptBytes
	}
	_, err := hex.DecodeString(text[hash:])
	return len(text) <= keptBytes || err == nil && strings.HasSuffix(text[:hash], hashMark)
}
