package sessionkey

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// learned is what a client keeps of the cookie called JSESSIONID.
func learned(headers ...string) []string {
	var h Headers
	for _, text := range headers {
		h = append(h, raw("set-cookie", text)...)
	}
	return (&cookieSource{"JSESSIONID"}).Learned(h, t0)
}

func TestSetCookieOfAResponse(t *testing.T) {
	for header, want := range map[string]string{
		"JSESSIONID=abc; Path=/; HttpOnly":                                  "abc",
		`JSESSIONID="abc"`:                                                  `"abc"`,
		"JSESSIONID=s%3Aabc":                                                "s:abc",
		"JSESSIONID=; Path=/":                                               "",
		"other=abc; x=JSESSIONID=1":                                         "",
		"JSESSIONID=a\\b":                                                   "a\\b",
		`JSESSIONID={"id":1}; Path=/`:                                       `{"id":1}`,
		"JSESSIONID=j\xfcrgen":                                              "j\xfcrgen",
		"  JSESSIONID = abc ; secure":                                       "abc",
		"JSESSIONID=abc; Max-Age=60":                                        "abc",
		"JSESSIONID=abc; Max-Age=060":                                       "abc",
		"JSESSIONID=abc; Max-Age=99999999999999999999":                      "abc",
		"JSESSIONID=abc; Max-Age=0":                                         "",
		"JSESSIONID=abc; Max-Age=000":                                       "",
		"JSESSIONID=abc; path=/; max-age=-1":                                "",
		"JSESSIONID=abc; Max-Age=x":                                         "abc",
		"JSESSIONID=abc; Max-Age=-":                                         "abc",
		"JSESSIONID=abc; Max-Age=0; Max-Age=x":                              "abc", // the last one counts, and says nothing
		"JSESSIONID=abc; Max-Age=+5":                                        "abc",
		"JSESSIONID=abc; Max-Age=0; Max-Age=1":                              "abc",
		"JSESSIONID=gone; Expires=Thu, 01 Jan 1970 00:00:00 GMT":            "",
		"JSESSIONID=gone; Expires=Thu, 01-Jan-1970 00:00:10 GMT":            "",
		"JSESSIONID=gone; Expires=Thu, 01-Jan-70 00:00:00 GMT":              "",
		"JSESSIONID=gone; expires=Thu Jan  1 00:00:00 1970":                 "",
		"JSESSIONID=gone; expires=\"Thu, 01 Jan 1970 00:00:00 GMT\"":        "",
		"JSESSIONID=gone; Expires=Tue, 24 Nov 2026 12:00:00 GMT":            "",
		"JSESSIONID=abc; Expires=Tue, 24 Nov 2026 12:00:01 GMT":             "abc",
		"JSESSIONID=abc; Expires=Fri, 31 Dec 9999 23:59:59 GMT":             "abc",
		"JSESSIONID=abc; Max-Age=60; Expires=Thu, 01 Jan 1970 00:00:00 GMT": "abc",
		"JSESSIONID=abc; Max-Age=0; Expires=Fri, 31 Dec 9999 23:59:59 GMT":  "",
		"JSESSIONID=abc; Expires=Thu, 01 Jan 0":                             "abc",
		"JSESSIONID=abc; Expires=0":                                         "abc",
		"JSESSIONID=abc; Expires=Thu, 30 Feb 1970 00:00:00 GMT":             "abc",
		"JSESSIONID=abc; Expires=Thu, 32 Jan 1970 00:00:00 GMT":             "abc",
		"JSESSIONID=abc; Expires=Thu, 01 Jan 1600 00:00:00 GMT":             "",
		"JSESSIONID=abc; Expires=Thu, 01 Jan 1970 00:00 GMT":                "abc",
	} {
		if got := strings.Join(learned(header), " "); got != want {
			t.Errorf("%q: got %q, want %q", header, got, want)
		}
	}
}

func TestSeveralSetCookiesOfOneName(t *testing.T) {
	const past = "Expires=Thu, 01 Jan 1970 00:00:00 GMT"
	for name, c := range map[string]struct {
		headers []string
		want    []string
	}{
		"the last of one path":               {[]string{"JSESSIONID=a; Path=/", "JSESSIONID=b; Path=/"}, []string{"b"}},
		"all of several paths":               {[]string{"JSESSIONID=a; Path=/a", "JSESSIONID=b; Path=/b", "JSESSIONID=c"}, []string{"a", "b", "c"}},
		"of several domains":                 {[]string{"JSESSIONID=a; Domain=a.example", "JSESSIONID=b; Domain=.A.example", "JSESSIONID=c; Domain=example"}, []string{"b", "c"}},
		"a new one, the old path deleted":    {[]string{"JSESSIONID=new; Path=/app", "JSESSIONID=old; Path=/; " + past}, []string{"new"}},
		"an old domain deleted, a new one":   {[]string{"JSESSIONID=old; Domain=example; " + past, "JSESSIONID=new"}, []string{"new"}},
		"given and taken back":               {[]string{"JSESSIONID=a; Path=/", "JSESSIONID=deleted; Path=/; Max-Age=0"}, nil},
		"taken back and given":               {[]string{"JSESSIONID=; Path=/; Max-Age=0", "JSESSIONID=a; Path=/"}, []string{"a"}},
		"a path that is none is the default": {[]string{"JSESSIONID=a; Path=x", "JSESSIONID=b"}, []string{"b"}},
	} {
		if got := learned(c.headers...); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// FuzzSetCookie compares with net/http what a pod's Set-Cookie says of the
// cookie that names a session, and plays the client that sends it back: what
// was learned must be what is read from its next request.
func FuzzSetCookie(f *testing.F) {
	for _, s := range []string{
		"JSESSIONID=a; Path=/; HttpOnly", `JSESSIONID="a b"; Secure`, "JSESSIONID=; Max-Age=0", "JSESSIONID=a;Max-Age=-1",
		"JSESSIONID=a; max-age=60; Max-Age=0", "JSESSIONID=a; Max-Age=060", " JSESSIONID = a ", "JSESSIONID", "other=JSESSIONID=a",
		"JSESSIONID=a\\b", "JSESSIONID=\"", ";JSESSIONID=a", "JSESSIONID=a\r\nJSESSIONID=b", "JSESSIONID=ü; max-age", "JSESSIONID=%61%",
		"JSESSIONID=a; Expires=Thu, 01-Jan-1970 00:00:10 GMT", "JSESSIONID=a; expires=Fri, 31 Dec 9999 23:59:59 GMT; Max-Age=x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		c := parseSetCookie(header)
		if want, known := netHTTPSays(header); known && c.name == "JSESSIONID" && !strings.ContainsFunc(c.value, beyondRFC6265) {
			if c.value != trimSpace(want.Value) {
				t.Errorf("%q: got %q, net/http says %q", header, c.value, want.Value)
			}
			// What net/http deletes is deleted; it reads fewer dates and numbers than user
			// agents, and skips a last Max-Age that says nothing.
			if !c.deletedAt(t0) && (c.maxAge != nil && want.MaxAge < 0 || c.maxAge == nil && !want.Expires.IsZero() && want.Expires.Before(t0)) {
				t.Errorf("%q: not deleted, net/http says MaxAge %d, Expires %v", header, want.MaxAge, want.Expires)
			}
		}
		got := learned(header)
		if len(got) == 0 {
			return
		}
		// A client keeps what is before the first ";" without the blanks around it.
		r, err := NewReader(append(allSources[:0:0], from("cookie", "JSESSIONID")))
		if err != nil {
			t.Fatal(err)
		}
		if back := firstKey(r, raw("cookie", "a=b; JSESSIONID="+c.value)); back != TableKey(got[0]) && len(got[0]) <= MaxKey {
			t.Errorf("%q: learned %q, but the client's %q is read as %q", header, got, c.value, back)
		}
	})
}

// netHTTPSays is what net/http makes of a Set-Cookie header; known is false for one
// that it refuses as a whole.
func netHTTPSays(header string) (c *http.Cookie, known bool) {
	c, err := http.ParseSetCookie(header)
	return c, err == nil
}

// FuzzCookieDate compares with net/http, which reads two formats: those are read here
// as well, and nothing leads to a panic.
func FuzzCookieDate(f *testing.F) {
	for _, s := range []string{"Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01-Jan-1970 00:00:10 GMT", "Thu Jan  1 00:00:00 1970", "1 1 1", "00:00:00 1 jan 70 x", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := parseCookieDate(text)
		want, err := http.ParseTime(text)
		if err == nil && want.Location() == time.UTC && want.Year() >= 1601 && !strings.Contains(text, "-") && (!ok || !got.Equal(want.Truncate(time.Second))) {
			t.Errorf("%q: got %v, %v, net/http says %v", text, got, ok, want)
		}
	})
}
