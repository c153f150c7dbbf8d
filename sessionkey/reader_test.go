package sessionkey

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	statefulroute "github.com/stateful-route/stateful-route"
)

var allSources = []statefulroute.SessionSource{
	from(statefulroute.FromHeader, "X-Session-ID"),
	from(statefulroute.FromCookie, "sid"),
	from(statefulroute.FromQuery, "session"),
	from(statefulroute.FromPath, "^/rooms/([^/]+)"),
}

func TestSessionKey(t *testing.T) {
	long := strings.Repeat("k", MaxKey)
	tests := map[string]struct {
		request Headers
		want    string
	}{
		"nothing":                    {raw(":path", "/"), ""},
		"header":                     {raw(":path", "/", "x-session-id", "a"), "a"},
		"header beats the rest":      {raw(":path", "/rooms/d?session=c", "cookie", "sid=b", "x-session-id", "a"), "a"},
		"cookie beats query":         {raw(":path", "/rooms/d?session=c", "cookie", "sid=b"), "b"},
		"query beats path":           {raw(":path", "/rooms/d?session=c"), "c"},
		"path":                       {raw(":path", "/rooms/d?other=c"), "d"},
		"empty header falls through": {raw(":path", "/", "x-session-id", "", "cookie", "sid=b"), "b"},
		"repeated header, first":     {raw("x-session-id", "a", "x-session-id", "b"), "a"},
		"repeated header, non-empty": {raw("x-session-id", "", "x-session-id", "b"), "b"},
		"second cookie header":       {raw("cookie", "x=1", "cookie", "sid=b"), "b"},
		"first of two cookies":       {raw("cookie", "sid=b; sid=c"), "b"},
		"quoted cookie":              {raw("cookie", `sid="b"`), "b"},
		"cookie with equals":         {raw("cookie", "sid=b=c=="), "b=c=="},
		"invalid cookie is skipped":  {raw("cookie", "sid=b\\c; sid=d"), "d"},
		"cookie names have case":     {raw("cookie", "SID=b"), ""},
		"similar cookie name":        {raw("cookie", "xsid=b; sidx=c"), ""},
		"query is decoded":           {raw(":path", "/?session=a%2Fb+c"), "a/b c"},
		"query name is decoded":      {raw(":path", "/?sess%69on=a"), "a"},
		"bad escape is skipped":      {raw(":path", "/?session=%zz&session=b"), "b"},
		"empty query is skipped":     {raw(":path", "/?session=&session=b"), "b"},
		"fragment is no query":       {raw(":path", "/?a=b#&session=c"), ""},
		"path is decoded":            {raw(":path", "/rooms/a%20b"), "a b"},
		"escaped slash is no slash":  {raw(":path", "/rooms/a%2Fb/c"), "a/b"},
		"bad path escape is kept":    {raw(":path", "/rooms/100%"), "100%"},
		"longest key":                {raw("x-session-id", long), long},
		"too long counts as absent":  {raw("x-session-id", long+"k", "cookie", "sid=b"), "b"},
	}
	r, err := NewKeyReader(allSources)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range tests {
		if got, _ := r.Key(c.request); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestSessionKeyInTheValueField(t *testing.T) {
	r, err := NewKeyReader(allSources)
	if err != nil {
		t.Fatal(err)
	}
	h := Headers{{Key: "x-session-id", Value: "a"}}
	if got, source := r.Key(h); got != "a" || source != 0 {
		t.Errorf("got %q from source %d, want a from 0", got, source)
	}
}

func TestBadSourcesAreRefused(t *testing.T) {
	bad := map[statefulroute.SessionSource]string{
		from(statefulroute.FromPath, "("):       "missing closing )",
		from(statefulroute.FromPath, "^/rooms"): "no group",
		from(statefulroute.FromHeader, ""):      "name is empty",
		from("body", "x"):                       "unknown kind",
	}
	for source, want := range bad {
		_, err := NewKeyReader([]statefulroute.SessionSource{source})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %q", source, err, want)
		}
	}
}

func TestSetCookieValue(t *testing.T) {
	for header, want := range map[string]string{
		"JSESSIONID=abc; Path=/; HttpOnly":      "abc",
		`JSESSIONID="abc"`:                      "abc",
		"JSESSIONID=abc; Max-Age=0":             "",
		"JSESSIONID=abc; path=/; max-age=-1":    "",
		"JSESSIONID=abc; Max-Age=60":            "abc",
		"JSESSIONID=; Path=/":                   "",
		"other=abc; x=JSESSIONID=1":             "",
		"JSESSIONID=a\\b":                       "",
		"  JSESSIONID = abc ; secure":           "abc",
		"JSESSIONID=abc; Expires=Thu, 01 Jan 0": "abc",
	} {
		if got := setCookieValue(header, "JSESSIONID"); got != want {
			t.Errorf("%q: got %q, want %q", header, got, want)
		}
	}
}

// FuzzCookie compares with net/http, whose first valid, non-empty cookie of the
// name must be ours.
func FuzzCookie(f *testing.F) {
	for _, s := range []string{"sid=a", `sid="a"; x=y`, "sid=;sid=b", "a=b;  sid = c", ";;=;sid", "sid=a\\b;sid=ü", "sid=0\r"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		want := ""
		r := http.Request{Header: http.Header{"Cookie": {header}}}
		for _, c := range r.CookiesNamed("sid") {
			if c.Value != "" {
				want = c.Value
				break
			}
		}
		if got := cookieValue(header, "sid"); got != want {
			t.Errorf("%q: got %q, net/http says %q", header, got, want)
		}
	})
}

// FuzzQuery compares with net/url.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"session=a", "a=b&session=%41", "session", "session=&session=x", "%73ession=+", "session=%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		if strings.ContainsAny(query, ";#") { // net/url refuses ";" and takes "#" as it comes
			t.Skip()
		}
		want := ""
		values, _ := url.ParseQuery(query)
		for _, v := range values["session"] {
			if v != "" {
				want = v
				break
			}
		}
		if got := queryValue(query, "session"); got != want {
			t.Errorf("%q: got %q, net/url says %q", query, got, want)
		}
	})
}

// FuzzSessionKey looks for panics and keys that are too long in any mixture.
func FuzzSessionKey(f *testing.F) {
	f.Add("/rooms/a?session=b", "sid=c", []byte("d"))
	f.Add("", "", []byte{0xff, 0})
	f.Add("?#%", "=;", []byte(nil))
	r, err := NewKeyReader(allSources)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path, cookie string, id []byte) {
		h := Headers{{Key: ":path", Value: path}, {Key: "cookie", Value: cookie}, {Key: "x-session-id", RawValue: id}, nil, &corev3.HeaderValue{}}
		key, source := r.Key(h)
		if (key == "") != (source < 0) || len(key) > MaxKey {
			t.Errorf("key %q of %d bytes from source %d", key, len(key), source)
		}
	})
}

func BenchmarkSessionKey(b *testing.B) {
	r, err := NewKeyReader(allSources)
	if err != nil {
		b.Fatal(err)
	}
	h := raw(":path", "/x?a=b&session=abcdef", ":method", "GET", "cookie", "theme=dark; lang=en")
	b.ReportAllocs()
	for b.Loop() {
		if k, _ := r.Key(h); k == "" {
			b.Fatal("no key")
		}
	}
}
