package discovery

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/internal/strictyaml"
)

// first is what a source says first.
func first(t *testing.T, c Config) Update {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	updates, ended := make(chan Update), make(chan struct{})
	go func() {
		defer close(ended)
		c.NewDiscoverer(Options{Logger: zap.NewNop()}).Run(ctx, updates)
	}()
	u := <-updates
	cancel()
	<-ended
	return u
}

func httpSource(url string, interval time.Duration) *HTTP {
	return &HTTP{URL: url, Interval: pointer(strictyaml.Duration(interval))}
}

func TestOnlyAWholeListIsTakenFromHTTP(t *testing.T) {
	const list = "- {name: a, address: '127.0.0.1:1'}\n- {name: b, address: '127.0.0.1:2', weight: 3}\n"
	for name, c := range map[string]struct {
		status int
		body   string
		fails  string
	}{
		"YAML":               {200, list, ""},
		"JSON":               {200, `[{"name": "a", "address": "127.0.0.1:1"}, {"name": "b", "address": "127.0.0.1:2", "weight": 3}]`, ""},
		"no pods":            {200, "[]", ""},
		"a server that ails": {503, list, "/pods: status 503"},
		"not modified":       {304, "", "/pods: status 304"},
		"nothing":            {200, "", "/pods: the file is empty"},
		"a page":             {200, "<html>\n<b>login</b>\n", "/pods:1: a list of pods is needed"},
		"a bad pod":          {200, list + "- {name: c, address: chat.internal}\n", `/pods:3: [2].address: "chat.internal" is not an IP:PORT`},
		"too long":           {200, list + strings.Repeat("#", largestHTTPList), "the list is longer than 4194304 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.body)) // fails where less is read
			}))
			defer srv.Close()
			u := first(t, httpSource(srv.URL+"/pods", time.Hour))
			switch {
			case c.fails != "" && (u.Err == nil || !strings.Contains(u.Err.Error(), c.fails)):
				t.Errorf("got %v, want %s", u.Err, c.fails)
			case c.fails == "" && (u.Err != nil || u.Pods == nil || c.body != "[]" && (names(u.Pods) != "a b" || u.Pods[1].Weight != 3)):
				t.Errorf("got %+v", u)
			}
		})
	}
}

func TestAnHTTPSourceThatDoesNotAnswerIsNotWaitedFor(t *testing.T) {
	hang := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer srv.Close()
	defer close(hang)
	if u := first(t, httpSource(srv.URL, 50*time.Millisecond)); u.Err == nil || !strings.Contains(u.Err.Error(), "Timeout") {
		t.Errorf("got %+v", u)
	}
}

func TestAPasswordOfAURLIsNotTold(t *testing.T) {
	h := httpSource("http://me:secret@127.0.0.1:1/pods", time.Hour)
	if u := first(t, h); u.Err == nil || strings.Contains(u.Err.Error()+h.String(), "secret") {
		t.Errorf("%s: %v", h, u.Err)
	}
}

// The pods stay while the server ails, and change once it is back.
func TestAnHTTPSourceIsAskedAgain(t *testing.T) {
	var list atomic.Value
	list.Store(podsFile("a"))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text := list.Load().(string)
		if text == "" {
			w.WriteHeader(http.StatusBadGateway)
		}
		_, _ = w.Write([]byte(text)) // fails when the client is gone
	}))
	defer srv.Close()
	m, b := newManager(t, nil)
	chat := testService("chat")
	chat.Pods = statefulroute.PodSource{Discovery: httpSource(srv.URL, 5*time.Millisecond)}
	b.mustChange(t, m, chat)
	list.Store("")
	await(t, "the trouble to show", func() bool { return m.state("chat") == "stale" })
	if got := b.of("chat"); got != "a" {
		t.Errorf("meanwhile the pods are %q", got)
	}
	list.Store(podsFile("a b"))
	await(t, "the new list", func() bool { return b.of("chat") == "a b" && m.state("chat") == "good" })
	m.Stop()
}
