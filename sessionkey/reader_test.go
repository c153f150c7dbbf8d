package sessionkey

import (
	"net/http"
	"net/url"
	"slices"
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
		"cookie with a backslash":    {raw("cookie", "sid=b\\c; sid=d"), "b\\c"},
		"cookie with a quote":        {raw("cookie", `sid={"id":"b"}; sid=d`), `{"id":"b"}`},
		"cookie that is not ASCII":   {raw("cookie", "sid=jürgen"), "jürgen"},
		"empty cookie is skipped":    {raw("cookie", `sid=; sid=""; sid=d`), "d"},
		"blanks around a cookie":     {raw("cookie", "a=b;  sid = c d ;e"), "c d"},
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
	r, err := NewReader(allSources)
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
	r, err := NewReader(allSources)
	if err != nil {
		t.Fatal(err)
	}
	h := Headers{{Key: "x-session-id", Value: "a"}}
	if got, source := r.Key(h); got != "a" || source != 0 {
		t.Errorf("got %q from source %d, want a from 0", got, source)
	}
}

func TestBadSourcesAreRefused(t *testing.T) {
	for _, c := range []struct {
		source statefulroute.SessionSource
		want   string
	}{
		{from(statefulroute.FromPath, "("), "missing closing )"},
		{from(statefulroute.FromPath, "^/rooms"), "needs a group"},
		{from(statefulroute.FromHeader, ""), `"" is not a header name`},
		{from(statefulroute.FromHeader, "x-stateful-route-pod"), "is internal"},
		{from(statefulroute.FromCookie, "a b"), "is not a cookie name"},
		{from(statefulroute.FromQuery, ""), "must not be empty"},
		{from("body", "x"), "unknown kind"},
	} {
		_, err := NewReader([]statefulroute.SessionSource{c.source})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want %q", c.source, err, c.want)
		}
	}
}

// Whatever kind a source is of, what travels of it opens the same source, and
// Envoy is told to forward something for it.
func TestEveryKindTravels(t *testing.T) {
	for _, s := range append(slices.Clone(allSources), claimSource("Authorization", "sub")) {
		source, err := open(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := open(source.Spec())
		if err != nil || !again.Spec().Equal(source.Spec()) || again.Spec().Kind != s.Kind {
			t.Errorf("%v travels as %v, arrives as %v: %v", s, source.Spec(), again, err)
		}
		if len(source.RequestHeaders()) == 0 || slices.ContainsFunc(source.RequestHeaders(), func(name string) bool { return name != strings.ToLower(name) }) {
			t.Errorf("%v needs the headers %q", s, source.RequestHeaders())
		}
	}
}

func TestReaderSaysWhatEnvoyIsToForward(t *testing.T) {
	r, err := NewReader(allSources)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.RequestHeaders(); !slices.Equal(got, []string{"x-session-id", "cookie", ":path", ":path"}) || !r.InPath() {
		t.Errorf("of requests %q, in the path %v", got, r.InPath())
	}
	if got := r.ResponseHeaders(); !slices.Equal(got, []string{"x-session-id", "set-cookie"}) {
		t.Errorf("of responses %q", got)
	}
	r, err = NewReader(allSources[:2])
	if err != nil || r.InPath() {
		t.Errorf("a header or cookie is not in the path: %v", err)
	}
}

func TestReaderLearns(t *testing.T) {
	r, err := NewReader(allSources)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("k", MaxKey+1)
	for want, h := range map[string]Headers{
		"a b": raw("x-session-id", "a", "set-cookie", "sid=x", "set-cookie", "sid=b; Path=/", "set-cookie", "other=c"),
		"c":   raw("x-session-id", long, "set-cookie", "sid=c"),
		"":    raw("cookie", "sid=d", ":path", "/rooms/e?session=f"),
	} {
		if got := strings.Join(r.Learned(h), " "); got != want {
			t.Errorf("learned %q, want %q", got, want)
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
		"JSESSIONID=a\\b":                       "a\\b",
		`JSESSIONID={"id":1}; Path=/`:           `{"id":1}`,
		"  JSESSIONID = abc ; secure":           "abc",
		"JSESSIONID=abc; Expires=Thu, 01 Jan 0": "abc",
	} {
		if got := setCookieValue(header, "JSESSIONID"); got != want {
			t.Errorf("%q: got %q, want %q", header, got, want)
		}
	}
}

// FuzzCookie compares with net/http: what it takes is what we take, and where we
// take something that it drops, user agents send that all the same.
func FuzzCookie(f *testing.F) {
	for _, s := range []string{"sid=a", `sid="a"; x=y`, "sid=;sid=b", "a=b;  sid = c", ";;=;sid", "sid=a\\b;sid=ü", "sid=0\r", `sid={"a":1}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got, want := cookieValue(header, "sid"), ""
		r := http.Request{Header: http.Header{"Cookie": {withoutBlanks(header)}}}
		for _, c := range r.CookiesNamed("sid") {
			if want = c.Value; want != "" {
				break
			}
		}
		if valid := !strings.ContainsFunc(got, beyondRFC6265); (valid || got == "") && got != want {
			t.Errorf("%q: got %q, net/http says %q", header, got, want)
		}
		if strings.Contains(got, ";") || got != trimSpace(got) && !strings.Contains(header, `"`) {
			t.Errorf("%q: got %q, which is more than a value", header, got)
		}
	})
}

// withoutBlanks is a Cookie header as a user agent would have sent it: net/http takes
// blanks before a value for a part of it.
func withoutBlanks(header string) string {
	var pairs []string
	for pair := range strings.SplitSeq(header, ";") {
		name, value, found := strings.Cut(pair, "=")
		pair = trimSpace(name)
		if found {
			pair += "=" + trimSpace(value)
		}
		pairs = append(pairs, pair)
	}
	return strings.Join(pairs, "; ")
}

// beyondRFC6265 is what net/http allows in no cookie's value.
func beyondRFC6265(r rune) bool { return r < 0x20 || r >= 0x7f || r == '"' || r == ';' || r == '\\' }

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
	r, err := NewReader(allSources)
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
	r, err := NewReader(allSources)
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
