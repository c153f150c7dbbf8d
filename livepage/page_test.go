package livepage

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/adminhttp"
	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/xds"
)

// serve starts a real server for the page and returns its URL and what stops it.
func serve(t *testing.T, page *Page, register ...func(*http.ServeMux)) (url string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	page.Register(mux)
	for _, r := range register {
		r(mux)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- adminhttp.Serve(ctx, listener, mux) }()
	stop = func() {
		cancel()
		if err, ok := <-ended; ok && err != nil {
			t.Error(err)
		}
		close(ended)
	}
	t.Cleanup(func() {
		if ctx.Err() == nil {
			stop()
		}
	})
	return "http://" + listener.Addr().String(), stop
}

func newPage(t *testing.T, o Options) *Page {
	t.Helper()
	page, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return page
}

func fixed(s State) func(time.Time) State {
	return func(now time.Time) State { s.Time = now; return s }
}

// answer is what a client got; its body is closed at the end of the test.
type answer struct {
	Code   int
	Header http.Header
	Body   io.ReadCloser
}

// get asks with the given headers.
func get(t *testing.T, url string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return answer{resp.StatusCode, resp.Header, resp.Body}
}

// event reads one server-sent event.
func event(t *testing.T, r *bufio.Reader) (name, data string) {
	t.Helper()
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "event":
			name = value
		case "data":
			data = value
		case "":
			return name, data
		}
	}
}

func TestPageAndAssets(t *testing.T) {
	url, _ := serve(t, newPage(t, Options{State: fixed(State{})}))
	for path, contentType := range map[string]string{
		"/": "text/html", "/assets/page.css": "text/css", "/assets/page.js": "text/javascript", "/assets/icon.svg": "image/svg+xml",
	} {
		resp := get(t, url+path)
		body, _ := io.ReadAll(resp.Body)
		if resp.Code != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), contentType) || len(body) == 0 {
			t.Errorf("%s: %d, %s, %d bytes", path, resp.Code, resp.Header.Get("Content-Type"), len(body))
		}
		policy := resp.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: policy %q lacks %q", path, policy, want)
			}
		}
		if strings.Contains(policy, "unsafe") || resp.Header.Get("X-Content-Type-Options") != "nosniff" || resp.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers %v", path, resp.Header)
		}
		if again := get(t, url+path, "If-None-Match", resp.Header.Get("ETag")); again.Code != http.StatusNotModified {
			t.Errorf("%s asked for again: %d", path, again.Code)
		}
	}
	if resp := get(t, url+"/assets/other"); resp.Code != http.StatusNotFound {
		t.Errorf("an unknown asset: %d", resp.Code)
	}
}

// What the browser test sees of one run, this sees of the text: nothing from
// elsewhere, nothing inline.
func TestAssetsAreSelfContained(t *testing.T) {
	elsewhere := regexp.MustCompile(`https?://[^"\s]+|//[a-z0-9.-]+\.[a-z]{2,}/`)
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|@import| style=| on[a-z]+="`)
	entries, err := files.ReadDir("assets")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		text, err := files.ReadFile("assets/" + entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range elsewhere.FindAllString(string(text), -1) {
			if found != "http://www.w3.org/2000/svg" {
				t.Errorf("%s names %s", entry.Name(), found)
			}
		}
		if found := forbidden.FindString(string(text)); found != "" {
			t.Errorf("%s has %q", entry.Name(), found)
		}
	}
}

func TestStreamBeginsWithEverything(t *testing.T) {
	page := newPage(t, Options{State: fixed(State{Summary: "line\nbreak", Services: []Service{{Name: "chat"}}})})
	feedSeconds(page.feed.history, 0, 11, func(int) map[string]analysis.PodSample { return map[string]analysis.PodSample{"chat": {Requests: 10}} })
	url, _ := serve(t, page)
	resp := get(t, url+"/api/v1/live")
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("content type %q, cache control %q", got, resp.Header.Get("Cache-Control"))
	}
	r := bufio.NewReader(resp.Body)
	name, data := event(t, r)
	var c chart
	if err := json.Unmarshal([]byte(data), &c); name != "chart" || err != nil || *c.Services["chat"].RequestRate[0] != 10 {
		t.Errorf("first event %s %s, %v; want chat's past", name, data, err)
	}
	name, data = event(t, r)
	var s State
	if err := json.Unmarshal([]byte(data), &s); name != "state" || err != nil || s.Summary != "line\nbreak" || s.Services[0].Name != "chat" {
		t.Errorf("second event %s %s, %v; want the state", name, data, err)
	}
}

func TestStreamShowsChangesAtTheNextLook(t *testing.T) {
	var drained atomic.Bool
	page := newPage(t, Options{State: func(now time.Time) State {
		state := "ready"
		if drained.Load() {
			state = "draining"
		}
		return State{Time: now, Services: []Service{{Name: "chat", Pods: []xds.PodReport{{Name: "chat-0", State: state}}}}}
	}})
	url, _ := serve(t, page)
	r := bufio.NewReader(get(t, url+"/api/v1/live").Body)
	event(t, r) // chart
	event(t, r) // state
	drained.Store(true)
	// One look may have been under way.
	for states := 0; ; {
		name, data := event(t, r)
		if strings.Contains(data, "draining") {
			break
		}
		if name == "state" {
			states++
		}
		if states > 1 {
			t.Fatalf("not shown in %d states after the change", states)
		}
	}
}

func TestStreamEndsWithTheServer(t *testing.T) {
	url, stop := serve(t, newPage(t, Options{State: fixed(State{})}))
	resp := get(t, url+"/api/v1/live")
	event(t, bufio.NewReader(resp.Body))
	stop() // returns although the client still listens
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Errorf("the stream was cut rather than ended: %v", err)
	}
}

func TestStreamRefusesOtherOrigins(t *testing.T) {
	url, _ := serve(t, newPage(t, Options{State: fixed(State{})}))
	for _, c := range []struct {
		name    string
		headers []string
		want    int
	}{
		{"another site", []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		{"another port", []string{"Sec-Fetch-Site", "same-site"}, http.StatusForbidden},
		{"another origin, old browser", []string{"Origin", "http://evil.example"}, http.StatusForbidden},
		{"no origin at all", []string{"Origin", "null"}, http.StatusForbidden},
		{"the page", []string{"Sec-Fetch-Site", "same-origin"}, http.StatusOK},
		{"the page, old browser", []string{"Origin", url}, http.StatusOK},
		{"no browser", nil, http.StatusOK},
	} {
		resp := get(t, url+"/api/v1/live", c.headers...)
		if resp.Code != c.want || resp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d, want %d", c.name, resp.Code, c.want)
		}
	}
}

func TestStreamsAreBounded(t *testing.T) {
	page := newPage(t, Options{State: fixed(State{}), MaxStreams: 2})
	url, _ := serve(t, page)
	first := get(t, url+"/api/v1/live")
	get(t, url+"/api/v1/live")
	if resp := get(t, url+"/api/v1/live"); resp.Code != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("the third of two streams: %d", resp.Code)
	}
	first.Body.Close()
	awaitStreams(t, page, 1)
	if resp := get(t, url+"/api/v1/live"); resp.Code != http.StatusOK {
		t.Errorf("a stream after one ended: %d", resp.Code)
	}
}

func awaitStreams(t *testing.T, page *Page, want int64) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for page.streams.Load() != want {
		if time.Now().After(deadline) {
			t.Fatalf("%d streams are open, want %d", page.streams.Load(), want)
		}
		<-tick.C
	}
}

func TestAClientThatDoesNotReadIsDropped(t *testing.T) {
	big := strings.Repeat("x", 16<<20) // more than the kernel's buffers hold
	began := make(chan struct{}, 1)
	page := newPage(t, Options{State: func(time.Time) State {
		select {
		case began <- struct{}{}:
		default:
		}
		return State{Summary: big}
	}})
	page.writeTimeout = 100 * time.Millisecond
	url, _ := serve(t, page)
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /api/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-began
	awaitStreams(t, page, 0)
}

func TestOptionsAreChecked(t *testing.T) {
	for name, o := range map[string]Options{"no state": {}, "negative streams": {State: fixed(State{}), MaxStreams: -1}} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
