package sessionkey_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/browser"
	"github.com/stateful-route/stateful-route/sessionkey"
)

// cookieServer gives a browser the Set-Cookie headers of a case, and keeps what comes back.
type cookieServer struct {
	cases [][]string

	mu   sync.Mutex
	back map[int][]string
}

func (s *cookieServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i, _ := strconv.Atoi(r.URL.Query().Get("case"))
	switch r.URL.Path {
	case "/app/set":
		w.Header()["Set-Cookie"] = s.cases[i]
	case "/app/read":
		s.mu.Lock()
		s.back[i] = r.Header["Cookie"]
		s.mu.Unlock()
		for _, path := range []string{"/", "/app", "/app/read"} {
			w.Header().Add("Set-Cookie", "sid=; Max-Age=0; Path="+path)
		}
	}
}

// cookieCases are written down or made at random from what cookies are made of.
func cookieCases(random int) [][]string {
	const past, future = "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 2100 23:59:59 GMT"
	cases := [][]string{
		{"sid=a; Path=/", "sid=b; Path=/app/read", "sid=c"}, {"sid=new; Path=/", "sid=old; Path=/app; Expires=" + past},
		{"sid=a", "sid=gone; Max-Age=0"}, {"sid=gone; Max-Age=0", "sid=a"}, {"sid=a", "sid=b"}, {"sid=a", "sid="},
	}
	pick := rand.New(rand.NewPCG(12, 29))
	one := func(of ...string) string { return of[pick.IntN(len(of))] }
	for range random {
		text := one("sid=", "sid =", " sid= ", "sid = ")
		for range 1 + pick.IntN(6) {
			text += one("a", "B", "7", `"`, `\`, " ", ",", "=", "%41", "%", "%zz", "{", "}", "ü", "\xfc", "\xff", "😀", ":", "/", "<", "+")
		}
		for range pick.IntN(3) {
			text += one(";", "; ", " ;") + one("Max-Age=", "max-age =", "Max-Age=\t") + one("0", "00", "-1", "-0", "060", "60", "1x", "", "-", "99999999999999999999", "+5", `"60"`)
		}
		for range pick.IntN(2) {
			text += one("; Expires=", ";expires = ") + one(past, future, "Thu, 01-Jan-1970 00:00:10 GMT", "Thu Jan  1 00:00:00 1970", "01 Jan 70 00:00:00",
				"00:00:00 1 jan 70", "31 Dec 69 23:59:59", "0", "tomorrow", "30 Feb 1970 00:00:00", "32 Jan 1970 00:00:00", "1 Jan 1500 00:00:00", "1 Jan 1970 24:00:00", `"`+past+`"`)
		}
		cases = append(cases, []string{text + one("", "; Path=/", "; HttpOnly", "; path=/app; x=y")})
	}
	return cases
}

func setCookies(texts []string) sessionkey.Headers { return headers("set-cookie", texts) }

func headers(name string, texts []string) (h sessionkey.Headers) {
	for _, text := range texts {
		h = append(h, sessionkey.Header{Key: name, Value: text})
	}
	return h
}

// What a browser keeps of a response's cookies and sends with its next request is what
// was learned from that response, and nothing else was.
func TestCookiesAsABrowserReadsThem(t *testing.T) {
	s := &cookieServer{cases: cookieCases(300), back: map[int][]string{}}
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	reader, err := sessionkey.NewReader([]statefulroute.SessionSource{{Kind: statefulroute.FromCookie, Name: "sid"}})
	if err != nil {
		t.Fatal(err)
	}
	tab := browser.Open(t, web.URL+"/app/page")
	const batch = 50
	for first := 0; first < len(s.cases); first += batch {
		last := min(first+batch, len(s.cases))
		browser.Eval[bool](tab, fmt.Sprintf(`(async () => {
			for (let i = %d; i < %d; i++) {
				await fetch("/app/set?case=" + i);
				await fetch("/app/read?case=" + i);
			}
			window.done = %d;
		})(), true`, first, last, last))
		tab.Await(fmt.Sprintf("window.done === %d", last))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	differences, sent := 0, 0
	for i, texts := range s.cases {
		learned, _ := reader.Learned(setCookies(texts), time.Now())
		keys, _ := reader.Keys(headers("cookie", s.back[i]))
		slices.Sort(learned)
		slices.Sort(keys)
		sent += len(keys)
		if !slices.Equal(learned, keys) {
			if differences++; differences <= 20 {
				t.Errorf("%q: learned %q, the browser sends %q", texts, learned, strings.Join(s.back[i], " | "))
			}
		}
	}
	t.Logf("%d responses, %d cookies came back, %d differences", len(s.cases), sent, differences)
	if len(s.back) != len(s.cases) || sent < len(s.cases)/4 {
		t.Errorf("%d of %d responses were followed by a request", len(s.back), len(s.cases))
	}
}
