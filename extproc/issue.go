package extproc

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/sessionkey"
	"github.com/stateful-route/stateful-route/wire"
)

// sessionIDBytes are random, so that nobody can guess an id.
const sessionIDBytes = 24

// newSessionID returns 192 random bits, base64url.
func newSessionID() string {
	var b [sessionIDBytes]byte
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

// stamped is the value of a cookie that is renewed: the session id and the second at
// which the client drops the cookie, in hexadecimal digits. A client that changes it
// moves the renewals of its own cookie and nothing else; no replica has to remember any.
func stamped(id string, ends time.Time) string {
	return id + "." + strconv.FormatInt(min(ends.Unix(), math.MaxUint32), 16) // a ttl may say for ever
}

// unstamped takes the value of a cookie apart. What is not exactly as stamped makes it
// is an id as a whole, and ends is zero.
func unstamped(value string) (id string, ends time.Time) {
	id, stamp, _ := strings.Cut(value, ".")
	seconds, err := strconv.ParseUint(stamp, 16, 32) // no sign
	ends = time.Unix(int64(seconds), 0)
	raw, bad := base64.RawURLEncoding.DecodeString(id)
	if err != nil || bad != nil || len(raw) != sessionIDBytes || len(stamp) != 8 ||
		stamped(base64.RawURLEncoding.EncodeToString(raw), ends) != value {
		return value, time.Time{}
	}
	return id, ends
}

// renewalDue reports whether less than half of a cookie's life is left.
func renewalDue(c *statefulroute.IssuedCookie, ends, now time.Time) bool {
	return c.Renew && !ends.IsZero() && ends.Sub(now) < c.TTL/2
}

// issuedCookie is the Set-Cookie value that gives id to a client, or prolongs its
// cookie. Scripts cannot read it, other sites cannot send it along with their forms
// unless same_site says so, and it stays on TLS when it was given over TLS.
func issuedCookie(c *statefulroute.IssuedCookie, id string, tls bool, now time.Time) string {
	k := cookieOf(c)
	k.Value, k.MaxAge, k.HttpOnly = id, int(c.TTL/time.Second), true
	if c.Renew {
		k.Value = stamped(id, now.Add(c.TTL))
	}
	k.Secure = k.Secure || tls
	k.SameSite = map[statefulroute.SameSite]http.SameSite{
		statefulroute.Strict: http.SameSiteStrictMode, statefulroute.None: http.SameSiteNoneMode,
	}[c.SameSite]
	k.SameSite = cmp.Or(k.SameSite, http.SameSiteLaxMode)
	return k.String()
}

// expiredCookie takes an issued cookie back, so that the client's next request
// begins a new session.
func expiredCookie(c *statefulroute.IssuedCookie) string {
	k := cookieOf(c)
	k.MaxAge = -1
	return k.String()
}

// cookieOf is by what a client tells the cookie from others. Where browsers take it
// over TLS only, it says so whatever the connection.
func cookieOf(c *statefulroute.IssuedCookie) http.Cookie {
	return http.Cookie{
		Name: c.Name, Domain: c.Domain, Path: cmp.Or(c.Path, "/"), Partitioned: c.Partitioned,
		Secure: c.Partitioned || c.SameSite == statefulroute.None ||
			strings.HasPrefix(c.Name, "__Host-") || strings.HasPrefix(c.Name, "__Secure-"),
	}
}

// privately returns the Cache-Control of a response that gives one client a cookie:
// Set-Cookie alone does not keep a shared cache from handing it to others (RFC 9111,
// 7.3), whether the response says how long it lives or not. The cookie is not left out
// instead, for its client would be a new session with each request. It returns "" for a
// response that no shared cache keeps as it is.
func privately(h sessionkey.Headers) string {
	private := []string{"private"}
	for _, header := range h {
		if header.Key != "cache-control" {
			continue
		}
		for directive := range strings.SplitSeq(header.Value, ",") {
			directive = strings.TrimSpace(directive)
			name, _, _ := strings.Cut(strings.ToLower(directive), "=")
			switch {
			case name == "no-store" || strings.EqualFold(directive, "private"):
				return ""
			case name == "public" || name == "s-maxage" || name == "private" || name == "":
			default:
				private = append(private, directive)
			}
		}
	}
	return strings.Join(private, ", ")
}
