package extproc

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
)

// keyHasher turns a session key into what logs and traces may show. The salt is
// drawn once per process: lines about one session can be matched with each
// other, but nobody can test a guessed key against an old log.
type keyHasher struct {
	salt [16]byte
}

func newKeyHasher() *keyHasher {
	h := &keyHasher{}
	rand.Read(h.salt[:]) // never fails: crypto/rand ends the process rather than return an error
	return h
}

// hash returns 16 hexadecimal digits of the salted SHA-256 of a key.
func (h *keyHasher) hash(service, key string) string {
	b := make([]byte, 0, 128)
	b = append(b, h.salt[:]...)
	b = append(b, service...)
	b = append(b, 0)
	b = append(b, key...)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}
