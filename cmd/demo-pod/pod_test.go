package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// get sends one request and reads the visit it counted.
func get(t *testing.T, h http.Handler, target string, edit func(*http.Request)) (visit, *httptest.ResponseRecorder) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, target, nil)
	if edit != nil {
		edit(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var v visit
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Fatalf("%s: %v in %q", target, err, w.Body)
	}
	return v, w
}

func post(h http.Handler, target, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, target, strings.NewReader(body)))
	return w
}

func TestVisitsAreCountedBySession(t *testing.T) {
	h := newPod("chat-0").handler()
	asHeader := func(r *http.Request) { r.Header.Set("x-session-id", "ann") }
	asCookie := func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "sid", Value: "ann"}) }
	for i, step := range []struct {
		target string
		edit   func(*http.Request)
		want   visit
	}{
		{"/", asHeader, visit{"chat-0", "ann", 1}},
		{"/x", asCookie, visit{"chat-0", "ann", 2}},
		{"/?session=ann", nil, visit{"chat-0", "ann", 3}},
		{"/rooms/ann/messages", nil, visit{"chat-0", "ann", 4}},
		{"/rooms/bob", nil, visit{"chat-0", "bob", 1}},
		{"/rooms/bob?session=eve", asCookie, visit{"chat-0", "ann", 5}},
		{"/rooms/", nil, visit{"chat-0", "", 1}},
		{"/", nil, visit{"chat-0", "", 1}},
	} {
		got, w := get(t, h, step.target, step.edit)
		if got != step.want || w.Header().Get("x-demo-pod") != "chat-0" {
			t.Errorf("step %d: got %+v from %q, want %+v", i, got, w.Header().Get("x-demo-pod"), step.want)
		}
	}
}

func TestPodCreatesSessions(t *testing.T) {
	h := newPod("chat-0").handler()
	created, w := get(t, h, "/login", nil)
	cookies := w.Result().Cookies()
	if len(cookies) != 1 || cookies[0].Name != "JSESSIONID" || cookies[0].Value != created.Session || created.Session == "" {
		t.Fatalf("created %+v with cookies %v", created, cookies)
	}
	back, w := get(t, h, "/", func(r *http.Request) { r.AddCookie(cookies[0]) })
	if back.Session != created.Session || back.Visits != 2 || len(w.Result().Cookies()) != 0 {
		t.Errorf("came back as %+v", back)
	}

	created, w = get(t, h, "/mcp", nil)
	id := w.Header().Get("mcp-session-id")
	if id == "" || id != created.Session {
		t.Fatalf("created %+v with header %q", created, id)
	}
	back, _ = get(t, h, "/mcp", func(r *http.Request) { r.Header.Set("mcp-session-id", id) })
	if back.Session != id || back.Visits != 2 {
		t.Errorf("came back as %+v", back)
	}
}

func TestControlMakesItSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newPod("chat-0").handler()
		if w := post(h, "/control?delay=200ms", ""); w.Code != http.StatusOK {
			t.Fatal(w.Code, w.Body)
		}
		start := time.Now()
		get(t, h, "/", nil)
		if took := time.Since(start); took != 200*time.Millisecond {
			t.Errorf("answered after %v", took)
		}
	})
}

func TestControlMakesItFail(t *testing.T) {
	h := newPod("chat-0").handler()
	status := func(path string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code
	}
	if status("/") != 200 || status("/healthz") != 200 {
		t.Fatal("a new pod is not well")
	}
	post(h, "/control", `{"fail":1,"healthz":"fail"}`)
	if status("/") != 500 || status("/healthz") != 503 {
		t.Error("it answers well although told to fail")
	}
	post(h, "/control", `{"fail":0}`)
	if status("/") != 200 || status("/healthz") != 503 {
		t.Error("fail=0 must end the failures and leave healthz as it was")
	}
	var s controlState
	if err := json.Unmarshal(post(h, "/control", `{"healthz":"ok","delay":"1ms"}`).Body.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if want := (controlState{"chat-0", "1ms", 0, "ok", 2, 0}); s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
}

func TestControlRefusesNonsense(t *testing.T) {
	h := newPod("chat-0").handler()
	for _, body := range []string{`{"delay":"5"}`, `{"delay":"-1s"}`, `{"fail":2,"delay":"1s"}`, `{"healthz":"maybe"}`, `{"speed":1}`, `{`} {
		if w := post(h, "/control", body); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), `"error"`) {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
	for _, query := range []string{"fail=x", "fail=NaN", "speed=1"} {
		if w := post(h, "/control?"+query, ""); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/control", nil))
	if got, want := strings.TrimSpace(w.Body.String()), `{"pod":"chat-0","delay":"0s","fail":0,"healthz":"ok","requests":0,"sessions":0}`; got != want {
		t.Errorf("refused changes left %s", got)
	}
}

func TestStopFinishesTheRequestInFlight(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	entered, release := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- serve(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(entered)
			<-release
			_, _ = io.WriteString(w, "whole")
		}))
	}()
	body := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			body <- err.Error()
			return
		}
		defer func() { _ = resp.Body.Close() }()
		b, _ := io.ReadAll(resp.Body)
		body <- string(b)
	}()
	<-entered
	cancel()
	close(release)
	if got := <-body; got != "whole" {
		t.Errorf("the request in flight got %q", got)
	}
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
}
