package sessionkey

import (
	"net/http"
	"strings"
	"testing"
)

// FuzzSetCookie compares with net/http what a pod's Set-Cookie says of the
// cookie that names a session, and plays the client that sends it back: what
// was learned must be what is read from its next request.
func FuzzSetCookie(f *testing.F) {
	for _, s := range []string{
		"JSESSIONID=a; Path=/; HttpOnly", `JSESSIONID="a b"; Secure`, "JSESSIONID=; Max-Age=0", "JSESSIONID=a;Max-Age=-1",
		"JSESSIONID=a; max-age=60; Max-Age=0", "JSESSIONID=a; Max-Age=060", " JSESSIONID = a ", "JSESSIONID", "other=JSESSIONID=a",
		"JSESSIONID=a\\b", "JSESSIONID=\"", ";JSESSIONID=a", "JSESSIONID=a\r\nJSESSIONID=b", "JSESSIONID=ü; max-age",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got := setCookieValue(header, "JSESSIONID")
		if want, known := netHTTPSays(header); known && got != want && !strings.ContainsFunc(got, beyondRFC6265) {
			t.Errorf("%q: got %q, net/http says %q", header, got, want)
		}
		if got == "" {
			return
		}
		// A client keeps what is before the first ";" without the blanks around it.
		_, value, _ := strings.Cut(header, "=")
		value, _, _ = strings.Cut(value, ";")
		if back := cookieValue("a=b; JSESSIONID="+trimSpace(value), "JSESSIONID"); back != got {
			t.Errorf("%q: learned %q, but the client's %q is read as %q", header, got, value, back)
		}
	})
}

// netHTTPSays is what setCookieValue should return; known is false for a header
// that net/http refuses as a whole.
func netHTTPSays(header string) (want string, known bool) {
	c, err := http.ParseSetCookie(header)
	switch {
	case err != nil:
		return "", false
	case c.Name != "JSESSIONID" || c.MaxAge < 0:
		return "", true
	case c.Quoted:
		return c.Value, true
	}
	return trimSpace(c.Value), true // as browsers do (RFC 6265, 5.2)
}
