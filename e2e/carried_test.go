package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// answeringPods gives a service pods whose responses have more than a name; each is
// told which pod of the list it is.
func answeringPods(t *testing.T, svc *harness.Service, answer func(pod int, w http.ResponseWriter, r *http.Request)) {
	t.Helper()
	for i := range svc.Pods.Static {
		name := svc.Pods.Static[i].Name
		pod := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer(i, w, r)
			fmt.Fprintf(w, `{"pod": %q}`, name)
		}))
		t.Cleanup(pod.Close)
		svc.Pods.Static[i].Address = pod.Listener.Addr().String()
	}
}

// Cookies as browsers and pods really send them lead to the pod of the session.
func TestCookiesAsTheyAreCarried(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(3)
	svc.Session.Key = []map[string]any{{"cookie": "sid"}, {"query": "sid"}}
	svc.Session.Learn = []map[string]any{{"cookie": "sid"}}
	answeringPods(t, &svc, func(_ int, w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/new" {
			w.Header()["Set-Cookie"] = []string{
				"sid=%7Bnew-1%7D; Path=/", "sid=new-2; Path=/app", "sid=old; Path=/old; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
			}
		}
	})
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	cookie := func(text string) harness.Edit { return harness.RawHeader("Cookie", text) }
	for _, value := range []string{`{"id":"a","n":1}`, `a"b`, `"quoted"`, `a\"b`, "jürgen", "j\xfcrgen", "a b", "50%"} {
		first, err := s.OK(cookie("sid=" + value))
		if err != nil {
			t.Fatal(err)
		}
		for range 6 {
			if again, err := s.OK(cookie("x=y; sid=" + value)); err != nil || again.Pod != first.Pod {
				t.Fatalf("%q: served by %s, then by %q, %v", value, first.Pod, again.Pod, err)
			}
		}
	}
	bind(t, s, "live", "chat-2")
	for _, text := range []string{"sid=stale; sid=live", "sid=live; sid=stale"} {
		if a, err := s.OK(cookie(text)); err != nil || a.Pod != "chat-2" {
			t.Errorf("%s: served by %q, %v", text, a.Pod, err)
		}
	}
	first, err := s.OK(harness.Path("/new"))
	if err != nil {
		t.Fatal(err)
	}
	for _, edit := range []harness.Edit{cookie("sid=%7Bnew-1%7D"), cookie("sid={new-1}"), cookie("sid=new-2"), func(r *http.Request) { r.URL.RawQuery = "sid=%7Bnew-1%7D" }} {
		if a, err := s.OK(edit); err != nil || a.Pod != first.Pod {
			t.Errorf("a session of %s is served by %q, %v", first.Pod, a.Pod, err)
		}
	}
	if _, err := harness.Call(http.MethodGet, s.ExtprocAdmin+"/api/v1/sessions/chat/old", ""); err == nil {
		t.Error("a deleted cookie was learned as a session")
	}
}

// The host is a key, however it is spelled, and a browser's preflight is no session.
func TestHostAsKeyAndPreflights(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(3)
	svc.Session.Key = []map[string]any{{"header": "host"}}
	svc.Session.Issue = map[string]string{"cookie": "stateful-route", "ttl": "1h"}
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	for i := range 6 {
		host := fmt.Sprintf("room-%d.example.com", i)
		bind(t, s, host, fmt.Sprintf("chat-%d", i%3))
		for _, spelled := range []string{host, strings.ToUpper(host) + ":8443", host + ".", host + ".:80"} {
			a, err := s.OK(func(r *http.Request) { r.Host = spelled })
			if want := fmt.Sprintf("chat-%d", i%3); err != nil || a.Pod != want {
				t.Errorf("%s: served by %q, %v; want %s", spelled, a.Pod, err, want)
			}
		}
	}
	preflight := func(r *http.Request) {
		r.Method, r.Host = http.MethodOptions, "room-of-nobody.example.com"
		r.Header.Set("Origin", "https://example.com")
		r.Header.Set("Access-Control-Request-Method", "POST")
	}
	a, err := s.Get(preflight)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := issuedCookie(a); err == nil {
		t.Errorf("a preflight was given %v", c)
	}
	if text, err := harness.Call(http.MethodGet, s.ExtprocAdmin+"/api/v1/sessions/chat/room-of-nobody.example.com", ""); err == nil {
		t.Errorf("a preflight claimed %s", text)
	}
}

// An issued cookie says what its service says, is renewed when less than half of its
// life is left, and stays out of shared caches.
func TestIssuedCookieAsConfiguredAndRenewed(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(3)
	svc.Session.Key = nil
	svc.Session.Issue = map[string]string{"cookie": "stateful-route", "ttl": "1h", "same_site": "none"}
	answeringPods(t, &svc, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=600")
		w.Header().Set("CDN-Cache-Control", "max-age=600")
	})
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	first, err := s.OK()
	if err != nil {
		t.Fatal(err)
	}
	given, err := issuedCookie(first)
	if err != nil {
		t.Fatal(err)
	}
	check := func(a harness.Answer, c *http.Cookie) {
		if c.SameSite != http.SameSiteNoneMode || !c.Secure || c.MaxAge != 3600 || c.Path != "/" {
			t.Errorf("the cookie is %v", c)
		}
		if got := a.Header["Cache-Control"]; len(got) != 1 || got[0] != "private, max-age=600" || a.Header.Get("CDN-Cache-Control") != "" {
			t.Errorf("with a cookie, Cache-Control is %q, that of CDNs %q", got, a.Header.Get("CDN-Cache-Control"))
		}
	}
	check(first, given)
	again, err := s.OK(carryCookies(first))
	if _, none := issuedCookie(again); err != nil || none == nil || again.Header.Get("Cache-Control") != "public, max-age=600" {
		t.Errorf("the second response: %v, Cache-Control %q", err, again.Header.Get("Cache-Control"))
	}
	id, _, _ := strings.Cut(given.Value, ".")
	old, err := s.OK(harness.RawHeader("Cookie", fmt.Sprintf("stateful-route=%s.%x", id, time.Now().Add(29*time.Minute).Unix())))
	if err != nil || old.Pod != first.Pod {
		t.Fatalf("served by %q, %v; want %s", old.Pod, err, first.Pod)
	}
	renewed, err := issuedCookie(old)
	if err != nil || !strings.HasPrefix(renewed.Value, id+".") {
		t.Fatalf("renewed as %v, %v", renewed, err)
	}
	check(old, renewed)
}

// A token as long as Envoy and we take is a key; one that is longer is counted.
func TestLongKeys(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(3)
	svc.Session.Key = []map[string]any{{"cookie": "token"}, {"header": "x-session-id"}}
	answeringPods(t, &svc, func(int, http.ResponseWriter, *http.Request) {})
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	token := strings.Repeat("0123456789abcdef", 4<<10) // 64 KiB
	bind(t, s, token[:len(token)-1], "chat-2")
	for range 3 {
		if a, err := s.OK(harness.RawHeader("Cookie", "token="+token[:len(token)-1])); err != nil || a.Pod != "chat-2" {
			t.Fatalf("served by %q, %v", a.Pod, err)
		}
	}
	first, err := s.OK(harness.RawHeader("Cookie", "token="+token))
	if err != nil {
		t.Fatal(err)
	}
	for range 6 {
		if a, err := s.OK(harness.RawHeader("X-Session-Id", token)); err != nil || a.Pod != first.Pod {
			t.Fatalf("served by %s, then by %q, %v", first.Pod, a.Pod, err)
		}
	}
	if _, err := s.OK(harness.RawHeader("Cookie", "token="+token+"x")); err != nil {
		t.Fatal(err)
	}
	if n, err := harness.Metric(s.ExtprocAdmin+"/metrics", "stateful_route_keys_refused_total", `reason="too_long"`); err != nil || n != 1 {
		t.Errorf("%v refused keys counted, %v", n, err)
	}
}
