package schedule

import (
	"encoding/hex"
	"math/rand/v2"
	"strings"
)

const alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// lengths of ids in bytes: around what products have had as limits.
func lengths() []int { return []int{1, 2, 31, 32, 33, 64, 255, 256, 1024, 4096, 8000} }

// id is the i-th session's, unlike all others.
func id(kind IDs, i int, random *rand.Rand) string {
	switch kind {
	case SharedPrefix:
		return strings.Repeat("a", 32) + suffix(i, 4)
	case AllLengths:
		return padded(i, random)
	default:
		return uuid(random)
	}
}

// padded has the number of the session at its end, where a product that cuts ids
// would lose it.
func padded(i int, random *rand.Rand) string {
	all := lengths()
	n, number := all[i%len(all)], i/len(all)
	short := suffix(number, 1)
	if n <= len(short) {
		return short // more than there are short ones get longer
	}
	b := make([]byte, n-len(short))
	for j := range b {
		b[j] = alphabet[random.IntN(len(alphabet))]
	}
	return string(b) + short
}

// suffix is i in at least n characters.
func suffix(i, n int) string {
	var b []byte
	for ; i > 0 || len(b) < n; i /= len(alphabet) {
		b = append([]byte{alphabet[i%len(alphabet)]}, b...)
	}
	return string(b)
}

func uuid(random *rand.Rand) string {
	b := make([]byte, 16)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
