package layout

import (
	"encoding/binary"
	"math/bits"
)

// Hash is what a table knows a session by: 96 bits of a keyed hash, so that nobody who does
// not know the key can make two sessions share one, or many share a bucket.
type Hash struct {
	A uint64
	B uint32
}

// SessionHash is the hash of a session's key in the service of that number.
func SessionHash(key [2]uint64, service uint32, session string) Hash {
	lo, hi := SipHash(key, uint64(service), 4, session)
	return Hash{lo, uint32(hi)}
}

// ServiceHash is what a service's slot knows its name by; 0 is no slot's.
func ServiceHash(key [2]uint64, name string) uint64 {
	lo, _ := SipHash(key, 0, 0, name)
	return max(lo, 1)
}

// AddressHash is the hash of the address of a pod of the service of that number. It need not be a good
// one: no client has a say in where pods are.
func AddressHash(service uint32, address string) uint64 {
	h := uint64(service)
	for ; address != ""; address = address[min(8, len(address)):] {
		h = (h ^ word(address[:min(8, len(address))])) * 0x9E3779B97F4A7C15
		h ^= h >> 32
	}
	h *= 0xD6E8FEB86659FD93 // what comes last is in the upper half alone
	return h ^ h>>32
}

// Buckets are the two of n in which a session may be.
func (h Hash) Buckets(n uint64) [2]uint64 {
	first, _ := bits.Mul64(h.A, n)
	x := h.A + uint64(h.B)*0x9E3779B97F4A7C15
	x ^= x >> 32
	x *= 0xD6E8FEB86659FD93
	x ^= x >> 32
	second, _ := bits.Mul64(x, n)
	return [2]uint64{first, second}
}

// SipHash is SipHash-1-3 with 128 bits of output, of the low prefixLen bytes of prefix (at
// most 7, the rest zero) and of the text.
func SipHash(key [2]uint64, prefix uint64, prefixLen int, text string) (lo, hi uint64) {
	s := sip{
		key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d ^ 0xee,
		key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573,
	}
	total := prefixLen + len(text)
	pending, have := prefix, prefixLen
	for have+len(text) >= 8 {
		n := 8 - have
		s.take(pending | word(text[:n])<<(8*have))
		text, pending, have = text[n:], 0, 0
	}
	s.take(pending | word(text)<<(8*have) | uint64(total)<<56)
	s[2] ^= 0xee
	lo = s.finish()
	s[1] ^= 0xdd
	return lo, s.finish()
}

// word is a text of at most 8 bytes as a number.
func word(text string) uint64 {
	var b [8]byte
	copy(b[:], text)
	return binary.LittleEndian.Uint64(b[:])
}

// sip is the state of SipHash.
type sip [4]uint64

func (s *sip) round() {
	v0, v1, v2, v3 := s[0], s[1], s[2], s[3]
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 += v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	s[0], s[1], s[2], s[3] = v0, v1, v2, v3
}

func (s *sip) take(m uint64) {
	s[3] ^= m
	s.round()
	s[0] ^= m
}

func (s *sip) finish() uint64 {
	s.round()
	s.round()
	s.round()
	return s[0] ^ s[1] ^ s[2] ^ s[3]
}
