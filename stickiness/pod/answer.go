package pod

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// The headers by which the suite's own client names a request to the suite's own
// pods. They are not the gateway's key: no gateway is configured to read them.
const (
	SessionHeader = "Stickiness-Session"
	NonceHeader   = "Stickiness-Nonce"
)

// The paths of the pods.
const (
	EventsPath = "/events"
	SocketPath = "/socket"
	TalkPath   = "/stickiness.Pod/Talk"
)

// Answer is what a pod says of one visit.
type Answer struct {
	Pod         string `json:"pod"`
	Incarnation int64  `json:"incarnation"` // when this process started, in nanoseconds since 1970
	Session     string `json:"session"`     // as SessionHeader named it
	Key         string `json:"key"`         // HashKey of the gateway's key as the pod saw it; empty without one
	Visits      int    `json:"visits"`      // of the session, this one included
	Since       int64  `json:"since"`       // when the first of them came
	Nonce       string `json:"nonce"`       // of the request
	Signature   string `json:"signature,omitempty"`
}

// HashKey makes a key of any length short. It hides nothing.
func HashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:8])
}

// Sign returns the answer with its signature.
func (a Answer) Sign(secret []byte) Answer {
	a.Signature = a.mac(secret)
	return a
}

// Signed reports whether the answer was signed with secret.
func (a Answer) Signed(secret []byte) bool {
	return hmac.Equal([]byte(a.Signature), []byte(a.mac(secret)))
}

func (a Answer) mac(secret []byte) string {
	a.Signature = ""
	b, err := json.Marshal(a)
	if err != nil {
		panic(fmt.Sprintf("strings and numbers do not become JSON: %v", err))
	}
	m := hmac.New(sha256.New, secret)
	_, _ = m.Write(b) // never fails
	return hex.EncodeToString(m.Sum(nil))
}
