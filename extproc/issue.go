package extproc

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/sessionkey"
	"github.com/stateful-route/stateful-route/wire"
)

// newSessionID returns an id that cannot be guessed: 192 random bits, base64url.
func newSessionID() string {
	var b [24]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process rather than return an error
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// cameByTLS reports whether the client reached Envoy, or the first proxy before
// it, by TLS. Envoy's own x-forwarded-proto speaks of Envoy's connection; what
// came with the request is believed as well, because it can only make the cookie
// Secure, and a client that lies does that to its own.
func cameByTLS(h sessionkey.Headers) bool {
	isHTTPS := func(text string) bool {
		first, _, _ := strings.Cut(text, ",")
		return strings.EqualFold(strings.TrimSpace(first), "https")
	}
	return isHTTPS(h.Value("x-forwarded-proto")) || isHTTPS(h.Value(wire.ForwardedProtoHeader))
}

// issuedCookie is the Set-Cookie value that gives id to a client. Scripts
// cannot read it, other sites cannot send it along with their forms, and it
// stays on TLS when it was given over TLS.
func issuedCookie(c *statefulroute.IssuedCookie, id string, tls bool) string {
	k := http.Cookie{
		Name:     c.Name,
		Value:    id,
		Path:     "/",
		MaxAge:   int(c.TTL / time.Second),
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
		Secure:   tls,
	}
	return k.String()
}

// expiredCookie takes an issued cookie back, so that the client's next request
// begins a new session.
func expiredCookie(c *statefulroute.IssuedCookie) string {
	k := http.Cookie{Name: c.Name, Path: "/", MaxAge: -1}
	return k.String()
}
