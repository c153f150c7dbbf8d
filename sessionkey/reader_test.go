package sessionkey

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

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
		"quotes are of the value":    {raw("cookie", `sid="b"`), `"b"`},
		"cookie is decoded":          {raw("cookie", "sid=s%3Ab+c"), "s:b+c"},
		"bad cookie escape is kept":  {raw("cookie", "sid=50%"), "50%"},
		"cookie in Latin-1":          {raw("cookie", "sid=j\xfcrgen"), "j\xfcrgen"},
		"header is decoded":          {raw("x-session-id", "a%20b"), "a b"},
		"cookie with equals":         {raw("cookie", "sid=b=c=="), "b=c=="},
		"cookie with a backslash":    {raw("cookie", "sid=b\\c; sid=d"), "b\\c"},
		"cookie with a quote":        {raw("cookie", `sid={"id":"b"}; sid=d`), `{"id":"b"}`},
		"cookie that is not ASCII":   {raw("cookie", "sid=jürgen"), "jürgen"},
		"empty cookie is skipped":    {raw("cookie", `sid=; sid= ; sid=d`), "d"},
		"blanks around a cookie":     {raw("cookie", "a=b;  sid = c d ;e"), "c d"},
		"cookie names have case":     {raw("cookie", "SID=b"), ""},
		"similar cookie name":        {raw("cookie", "xsid=b; sidx=c"), ""},
		"query is decoded":           {raw(":path", "/?session=a%2Fb+c"), "a/b c"},
		"query name is decoded":      {raw(":path", "/?sess%69on=a"), "a"},
		"bad query escape is kept":   {raw(":path", "/?session=100%&session=b"), "100%"},
		"empty query is skipped":     {raw(":path", "/?session=&session=b"), "b"},
		"fragment is no query":       {raw(":path", "/?a=b#&session=c"), ""},
		"path is decoded":            {raw(":path", "/rooms/a%20b"), "a b"},
		"escaped slash is no slash":  {raw(":path", "/rooms/a%2Fb/c"), "a/b"},
		"bad path escape is kept":    {raw(":path", "/rooms/100%"), "100%"},
		"longest key":                {raw("x-session-id", long), TableKey(long)},
		"too long counts as absent":  {raw("x-session-id", long+"k", "cookie", "sid=b"), "b"},
	}
	r, err := NewReader(allSources)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range tests {
		if got := firstKey(r, c.request); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// One id is one key wherever a client carries it, and however that writes it.
func TestOneRuleForAllPlaces(t *testing.T) {
	for id, h := range map[string][]Headers{
		"s:b c/ü": {
			raw("x-session-id", "s%3Ab%20c%2F%C3%BC"), raw("x-session-id", "s:b c/ü"), raw("cookie", "sid=s%3ab c/%c3%bc"),
			raw(":path", "/?session=s:b+c%2Fü"), raw(":path", "/rooms/s:b%20c%2F%C3%BC"),
		},
		"100%": {raw("x-session-id", "100%"), raw("cookie", "sid=100%"), raw(":path", "/?session=100%"), raw(":path", "/rooms/100%25")},
	} {
		r, err := NewReader(allSources)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range h {
			if got := firstKey(r, h); got != id {
				t.Errorf("%v: got %q, want %q", h, got, id)
			}
		}
	}
}

func TestAllKeysOfTheFirstSource(t *testing.T) {
	r, err := NewReader(allSources)
	if err != nil {
		t.Fatal(err)
	}
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprintf("sid=%d", i)
	}
	for _, c := range []struct {
		request Headers
		want    []string
		source  int
	}{
		{raw("cookie", "sid=b; x=y; sid=c; sid=b", ":path", "/?session=d"), []string{"b", "c"}, 1},
		{raw("cookie", "sid=b", "cookie", "sid=c"), []string{"b", "c"}, 1},
		{raw("x-session-id", "a", "x-session-id", "b", "cookie", "sid=c"), []string{"a", "b"}, 0},
		{raw(":path", "/?session=a&session=&session=b"), []string{"a", "b"}, 2},
		{raw(":path", "/"), nil, -1},
		{raw("cookie", strings.Join(many, "; ")), []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15"}, 1},
	} {
		if got, source := r.Keys(c.request); !slices.Equal(got, c.want) || source != c.source {
			t.Errorf("%v: got %q of source %d, want %q of %d", c.request, got, source, c.want, c.source)
		}
	}
}

func TestSessionKeyInTheValueField(t *testing.T) {
	r, err := NewReader(allSources)
	if err != nil {
		t.Fatal(err)
	}
	h := Headers{{Key: "x-session-id", Value: "a"}}
	if got, source := r.Keys(h); !slices.Equal(got, []string{"a"}) || source != 0 {
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
		"a b": raw("x-session-id", "a", "set-cookie", "sid=x", "set-cookie", "sid=b; Secure", "set-cookie", "other=c"),
		"c":   raw("x-session-id", long, "set-cookie", "sid=c"),
		"":    raw("cookie", "sid=d", ":path", "/rooms/e?session=f"),
	} {
		ids, _ := r.Learned(h, t0)
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("learned %q, want %q", got, want)
		}
	}
}

// FuzzCookie compares with net/http: what it takes is what we take, and where we
// take something that it drops, user agents send that all the same.
func FuzzCookie(f *testing.F) {
	for _, s := range []string{"sid=a", `sid="a"; x=y`, "sid=;sid=b", "a=b;  sid = c", ";;=;sid", "sid=a\\b;sid=ü", "sid=0\r", `sid={"a":1}`, "sid=a%20b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		var got, valid []string
		(&cookieSource{"sid"}).values(raw("cookie", header), func(v string) bool {
			if got = append(got, v); !strings.ContainsFunc(v, beyondRFC6265) {
				valid = append(valid, v)
			}
			return false
		})
		var want []string
		r := http.Request{Header: http.Header{"Cookie": {withoutBlanks(header)}}}
		for _, c := range r.CookiesNamed("sid") {
			if !c.Quoted { // the quotes are of the value here
				want = append(want, c.Value)
			}
		}
		if !slices.Equal(valid, want) {
			t.Errorf("%q: got %q, net/http says %q", header, valid, want)
		}
		for _, v := range got {
			if strings.Contains(v, ";") || v != trimSpace(v) {
				t.Errorf("%q: got %q, which is more than a value", header, v)
			}
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
		var got, well []string
		(&querySource{"session"}).Keys(raw(":path", "/?"+query), func(key string) bool {
			got = append(got, key)
			return true
		})
		for pair := range strings.SplitSeq(query, "&") { // what net/url drops is taken as it is
			name, value, _ := strings.Cut(pair, "=")
			if queryDecoded(name) != "session" {
				continue
			}
			if _, err := url.QueryUnescape(value); err == nil {
				well = append(well, got[0])
			} else if got[0] != value {
				t.Errorf("%q: got %q for a value that does not decode", query, got[0])
			}
			got = got[1:]
		}
		if values, _ := url.ParseQuery(query); !slices.Equal(well, values["session"]) {
			t.Errorf("%q: got %q, net/url says %q", query, well, values["session"])
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
		h := Headers{{Key: ":path", Value: path}, {Key: "cookie", Value: cookie}, {Key: "x-session-id", Value: string(id)}, {}}
		keys, source := r.Keys(h)
		if (len(keys) == 0) != (source < 0) || len(keys) > MaxCandidates {
			t.Errorf("%d keys from source %d", len(keys), source)
		}
		for _, key := range keys {
			if !IsTableKey(key) || key == "" {
				t.Errorf("key %q of %d bytes from source %d", key, len(key), source)
			}
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
		if keys, _ := r.Keys(h); len(keys) == 0 {
			b.Fatal("no key")
		}
	}
}
