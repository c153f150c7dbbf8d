package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/extproc"
	"github.com/stateful-route/stateful-route/extproc/extproctest"
	"github.com/stateful-route/stateful-route/insight/metrics"
	"github.com/stateful-route/stateful-route/insight/tracing"
	"github.com/stateful-route/stateful-route/sessionkey"
	"github.com/stateful-route/stateful-route/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newTracer has every span that is made recorded.
func newTracer(t *testing.T, spans *tracetest.SpanRecorder, now func() time.Time) *tracing.Tracer {
	t.Helper()
	tracer, err := tracing.NewTracer(t.Context(), tracing.TracerOptions{
		Process: "extproc", Now: now, Provider: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return tracer
}

// newDirectory is one that was told nothing yet, and what it counts with.
func newDirectory(t *testing.T) (*extproc.Directory, *metrics.Monitor) {
	t.Helper()
	m := extproctest.NewMonitor(t)
	d, err := extproc.NewDirectory(extproc.DirectoryOptions{Monitor: m})
	if err != nil {
		t.Fatal(err)
	}
	return d, m
}

// operator is the admin API as routectl sees it.
type operator struct {
	t         *testing.T
	url       string
	directory *extproc.Directory
	table     *affinity.Table
	logs      *observer.ObservedLogs
	spans     *tracetest.SpanRecorder
	notReady  error
}

func startAdmin(t *testing.T) *operator {
	core, logs := observer.New(zap.InfoLevel)
	o := &operator{t: t, logs: logs, spans: tracetest.NewSpanRecorder()}
	var monitor *metrics.Monitor
	o.directory, monitor = newDirectory(t)
	o.directory.Set([]wire.ServiceState{{
		Service: extproctest.Chat(), Pods: extproctest.WithState(extproctest.Pods(3), "chat-2", statefulroute.Maintenance),
	}}, true)
	o.table = extproctest.NewTable(t)
	tracer := newTracer(t, o.spans, nil)
	h, err := New(Options{
		Directory: o.directory, Lister: extproc.MemoryTable{Table: o.table}, Editor: extproc.MemoryTable{Table: o.table},
		Metrics:    monitor.Handler(),
		TableStats: func() any { return map[string]int{"size": o.table.Stats().Size} },
		Replicas:   func() Replicas { return Replicas{Store: Store{Kind: StoreMemory, State: StoreOpen}} },
		Ready:      func() error { return o.notReady },
		Tracer:     tracer,
		Log:        zap.New(core),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	o.url = server.URL
	return o
}

// do sends a request whose path goes out as it is and decodes the answer.
func (o *operator) do(method, path, body string, into any) int {
	o.t.Helper()
	r, err := http.NewRequest(method, o.url, strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	r.Header.Set("traceparent", extproctest.Parent)
	path, query, _ := strings.Cut(path, "?")
	r.URL.RawPath, r.URL.RawQuery = path, query
	if r.URL.Path, err = url.PathUnescape(path); err != nil {
		r.URL.Opaque = "//" + r.URL.Host + path // sent as it is, malformed
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		o.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			o.t.Fatalf("%s %s: %q is not JSON: %v", method, path, text, err)
		}
	}
	return res.StatusCode
}

// A long key is asked for as the client sends it, or as the list names it.
func TestAdminLongKey(t *testing.T) {
	o := startAdmin(t)
	long := strings.Repeat("k", sessionkey.MaxKey)
	named := sessionkey.TableKey(long)
	path := sessionPath + "chat/" + escapeSegment(named)
	var s sessionJSON
	if code := o.do("PUT", sessionPath+"chat/"+long, `{"pod": "chat-1"}`, &s); code != 200 || s.Path != path {
		t.Errorf("PUT: %d, path %q, want %q", code, s.Path, path)
	}
	if b, ok := o.table.Peek("chat", named, time.Now()); !ok || b.Pod != "chat-1" {
		t.Errorf("bound to %q", b.Pod)
	}
	for _, path := range []string{path, sessionPath + "chat/" + long} {
		if code := o.do("GET", path, "", &s); code != 200 || s.Pod != "chat-1" {
			t.Errorf("GET %.300q: %d, %+v", path, code, s)
		}
	}
	if code := o.do("DELETE", path, "", nil); code != 204 {
		t.Errorf("DELETE: %d", code)
	}
}

func TestAdminAnyKey(t *testing.T) {
	o := startAdmin(t)
	for _, key := range []string{
		"simple", "a/b", "a//b", "/", "..", ".", "../../metrics", "a%2Fb", "100%", "ключ 🔑", "with space", `"quoted"`,
		"?x=y", "#x", "a+b", "a;b", "line\nbreak", "\x00", "\xff\xfe", strings.Repeat("k", 256),
	} {
		path := sessionPath + "chat/" + escapeSegment(key)
		var s sessionJSON
		if code := o.do("PUT", path, `{"pod": "chat-1"}`, &s); code != 200 || s.Pod != "chat-1" {
			t.Errorf("PUT %q: %d, %+v", key, code, s)
		}
		if code := o.do("GET", path, "", &s); code != 200 || s.Path != path {
			t.Errorf("GET %q: %d, path %q, want %q", key, code, s.Path, path)
		}
		if b, ok := o.table.Peek("chat", key, time.Now()); !ok || b.Pod != "chat-1" {
			t.Errorf("%q is bound to %q", key, b.Pod)
		}
		if code := o.do("DELETE", path, "", nil); code != 204 {
			t.Errorf("DELETE %q: %d", key, code)
		}
		if _, ok := o.table.Peek("chat", key, time.Now()); ok {
			t.Errorf("%q is still bound", key)
		}
	}
	for _, e := range o.logs.All() {
		if strings.Contains(fmt.Sprint(e.ContextMap()), "quoted") {
			t.Errorf("a key is in the log: %v", e.ContextMap())
		}
	}
	if o.logs.Len() != 40 {
		t.Errorf("%d changes logged, want 40", o.logs.Len())
	}
}

// Of an evicted session an operator sees the pod that it will come back to.
func TestAdminShowsWhereAnEvictedSessionGoes(t *testing.T) {
	o := startAdmin(t)
	now := time.Now()
	for i := range 1001 { // of 1000
		if _, _, err := o.table.Claim("chat", fmt.Sprint("s", i), "chat-1", now.Add(time.Duration(i))); err != nil {
			t.Fatal(err)
		}
	}
	gone := ""
	for i := range 1001 {
		if _, ok := o.table.Peek("chat", fmt.Sprint("s", i), now); !ok {
			gone = fmt.Sprint("s", i)
		}
	}
	path := sessionPath + "chat/" + gone
	var raw map[string]any
	if code := o.do("GET", path, "", &raw); code != 200 || raw["pod"] != "chat-1" || raw["evicted"] != true || raw["created"] != nil {
		t.Errorf("GET %s: %d, %v", path, code, raw)
	}
	if code := o.do("DELETE", path, "", nil); code != 204 {
		t.Errorf("DELETE: %d", code)
	}
	if code := o.do("GET", path, "", nil); code != 404 {
		t.Errorf("GET after it was forgotten: %d", code)
	}
}

func TestAdminKeysWithSlashesNeedNoEscape(t *testing.T) {
	o := startAdmin(t)
	o.table.Move("chat", "a//b/../c", "chat-0", time.Now())
	var s sessionJSON
	if code := o.do("GET", sessionPath+"chat/a//b/../c", "", &s); code != 200 || s.Key != "a//b/../c" {
		t.Errorf("%d, %+v", code, s)
	}
}

func TestAdminRefusals(t *testing.T) {
	o := startAdmin(t)
	o.table.Move("chat", "a", "chat-0", time.Now())
	for _, c := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"GET", sessionPath + "chat/nobody", "", 404, "no such session"},
		{"DELETE", sessionPath + "chat/nobody", "", 404, "no such session"},
		{"GET", sessionPath + "mail/a", "", 404, `no service "mail"`},
		{"DELETE", sessionPath + "mail/a", "", 404, `no service "mail"`},
		{"GET", "/api/v1/sessions?service=mail", "", 404, `no service "mail"`},
		{"GET", sessionPath + "chat", "", 400, "SERVICE/KEY"},
		{"GET", sessionPath + "chat/", "", 400, "SERVICE/KEY"},
		{"DELETE", sessionPath + "chat/", "", 400, "SERVICE/KEY"}, // a key that is missing is not all of them
		{"DELETE", sessionPath + "mail", "", 404, `no service "mail"`},
		{"GET", sessionPath + "chat/" + strings.Repeat("k", sessionkey.MaxKey+1), "", 400, "longer than 65536"},
		{"POST", sessionPath + "chat/a", "", 405, "POST"},
		{"PUT", sessionPath + "chat/a", `{"pod": "chat-9"}`, 422, `no pod "chat-9"`},
		{"PUT", sessionPath + "chat/a", `{"pod": "chat-2"}`, 409, "maintenance"},
		{"PUT", sessionPath + "mail/a", `{"pod": "chat-1"}`, 404, `no service "mail"`},
		{"PUT", sessionPath + "chat/a", `{"pod": 3}`, 400, "the body must be"},
		{"PUT", sessionPath + "chat/a", `{"prod": "chat-1"}`, 400, "unknown field"},
		{"PUT", sessionPath + "chat/a", `{"pod": "` + strings.Repeat("x", 70<<10) + `"}`, 400, "too large"},
		{"GET", "/api/v1/sessions?limit=0", "", 400, "limit"},
		{"GET", "/api/v1/sessions?limit=many", "", 400, "limit"},
		{"GET", "/api/v1/sessions?after=nonsense", "", 400, "after"},
		{"GET", "/api/v1/nothing", "", 404, "GET /api/v1/nothing: Not Found"},
		{"GET", "/", "", 404, "GET /: Not Found"},
		{"POST", "/api/v1/stats", "", 405, "POST /api/v1/stats: Method Not Allowed"},
		{"DELETE", "/api/v1/sessions", "", 405, "Method Not Allowed"},
		{"PUT", "/metrics", "", 405, "Method Not Allowed"},
		{"POST", "/healthz", "", 405, "Method Not Allowed"},
	} {
		var e struct {
			Error string `json:"error"`
		}
		if code := o.do(c.method, c.path, c.body, &e); code != c.code || !strings.Contains(e.Error, c.want) {
			t.Errorf("%s %.60s: %d %q, want %d %q", c.method, c.path, code, e.Error, c.code, c.want)
		}
	}
	if b, _ := o.table.Peek("chat", "a", time.Now()); b.Pod != "chat-0" {
		t.Errorf("a refused move moved the session to %s", b.Pod)
	}
}

func TestAdminPagesThroughSessions(t *testing.T) {
	o := startAdmin(t)
	for i := range 25 {
		o.table.Move("chat", fmt.Sprint("s", i), fmt.Sprintf("chat-%d", i%2), time.Now())
	}
	seen, after := map[string]bool{}, ""
	for page := 0; ; page++ {
		var l struct {
			Sessions []sessionJSON
			Next     string
		}
		if code := o.do("GET", "/api/v1/sessions?service=chat&pod=chat-1&limit=5&after="+url.QueryEscape(after), "", &l); code != 200 {
			t.Fatal(code)
		}
		for _, s := range l.Sessions {
			if seen[s.Key] || s.Pod != "chat-1" {
				t.Errorf("%+v again or on the wrong pod", s)
			}
			seen[s.Key] = true
		}
		if len(l.Sessions) > 5 || page > 5 {
			t.Fatalf("page %d has %d sessions", page, len(l.Sessions))
		}
		if after = l.Next; after == "" {
			break
		}
	}
	if len(seen) != 12 {
		t.Errorf("%d sessions listed, want 12", len(seen))
	}
}

// Sessions that are left of a service that is gone can be seen and forgotten.
func TestAdminShowsWhatIsLeftOfAService(t *testing.T) {
	o := startAdmin(t)
	o.table.Move("mail", "a", "mail-0", time.Now())
	for _, path := range []string{"/api/v1/sessions?service=mail", sessionPath + "mail/a"} {
		if code := o.do("GET", path, "", nil); code != 200 {
			t.Errorf("%s: %d", path, code)
		}
	}
	if code := o.do("DELETE", sessionPath+"mail/a", "", nil); code != 204 {
		t.Error(code)
	}
}

// All sessions of a service are forgotten at once, also of one that is gone or whose
// name has to be escaped, and no other's.
func TestAdminForgetsAllSessionsOfAService(t *testing.T) {
	o := startAdmin(t)
	for i := range 6 {
		o.table.Move([]string{"chat", "mail", "a/b"}[i%3], fmt.Sprint(i), "pod", time.Now())
	}
	for _, service := range []string{"mail", "a/b"} {
		var got struct {
			Service   string
			Forgotten int
		}
		code := o.do("DELETE", sessionPath+escapeSegment(service), "", &got)
		if code != 200 || got.Service != service || got.Forgotten != 2 || o.table.PodSessions(service, "pod") != 0 {
			t.Errorf("%s: %d, %+v", service, code, got)
		}
	}
	if n := o.table.PodSessions("chat", "pod"); n != 2 {
		t.Errorf("%d of 2 sessions of another service are left", n)
	}
}

func TestAdminEmptyListIsAList(t *testing.T) {
	o := startAdmin(t)
	var l map[string]json.RawMessage
	o.do("GET", "/api/v1/sessions", "", &l)
	if string(l["sessions"]) != "[]" {
		t.Errorf("sessions is %s", l["sessions"])
	}
}

// An operator's changes are steps of the operator's trace.
func TestAdminChangesAreTraced(t *testing.T) {
	o := startAdmin(t)
	o.do("PUT", sessionPath+"chat/secret-key", `{"pod": "chat-1"}`, nil)
	o.do("GET", sessionPath+"chat/secret-key", "", nil)
	o.do("DELETE", sessionPath+"chat/secret-key", "", nil)
	o.do("DELETE", sessionPath+"chat/secret-key", "", nil)
	extproctest.CheckSpans(t, o.spans, "cache.set request cache.delete request cache.delete request", "secret-key")
	for i, want := range map[int]string{2: "true", 4: "false"} {
		for _, a := range o.spans.Ended()[i].Attributes() {
			if a.Key == "cache.hit" && a.Value.String() != want {
				t.Errorf("span %d has cache.hit %v, want %v", i, a.Value.String(), want)
			}
		}
	}
}

// Everything in a trace is by the clock that the API was given.
func TestSpansGoByTheAPIsClock(t *testing.T) {
	began := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	now := began
	clock := func() time.Time { now = now.Add(time.Second); return now }
	spans := tracetest.NewSpanRecorder()
	d, _ := newDirectory(t)
	d.Set([]wire.ServiceState{{Service: extproctest.Chat(), Pods: extproctest.Pods(2)}}, true)
	table := extproc.MemoryTable{Table: extproctest.NewTable(t)}
	handler, err := New(Options{
		Directory: d, Lister: table, Editor: table, Metrics: http.NotFoundHandler(), TableStats: func() any { return nil },
		Replicas: func() Replicas { return Replicas{} },
		Ready:    func() error { return nil }, Tracer: newTracer(t, spans, clock), Now: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*http.Request{
		httptest.NewRequest(http.MethodPut, "/api/v1/sessions/chat/a", strings.NewReader(`{"pod":"chat-1"}`)),
		httptest.NewRequest(http.MethodDelete, "/api/v1/sessions/chat/a", nil),
	} {
		w := httptest.NewRecorder()
		if handler.ServeHTTP(w, r); w.Code >= 300 {
			t.Fatalf("%s: %d %s", r.Method, w.Code, w.Body)
		}
	}
	if n := len(spans.Ended()); n != 4 {
		t.Errorf("%d spans, want 4", n)
	}
	for _, s := range spans.Ended() {
		if s.StartTime().Before(began) || s.EndTime().After(now) || !s.EndTime().After(s.StartTime()) {
			t.Errorf("%s is from %s to %s, by a clock from %s to %s", s.Name(), s.StartTime(), s.EndTime(), began, now)
		}
	}
}

func TestAdminStats(t *testing.T) {
	o := startAdmin(t)
	o.table.Move("chat", "a", "chat-0", time.Now())
	server, err := extproc.NewServer(extproc.ServerOptions{Directory: o.directory, Table: extproc.MemoryTable{Table: extproctest.NewTable(t)}})
	if err != nil {
		t.Fatal(err)
	}
	extproctest.Ask(t, server, "chat", "k")
	var s struct {
		Cache    map[string]int
		Balancer balancersJSON
	}
	if code := o.do("GET", "/api/v1/stats", "", &s); code != 200 {
		t.Fatal(code)
	}
	if s.Cache["size"] != 1 || s.Balancer.TotalRequests != 1 || s.Balancer.Services["chat"].TotalRequests != 1 || s.Balancer.LastRequest == nil {
		t.Errorf("got %+v", s)
	}
}

func TestAdminHealth(t *testing.T) {
	o := startAdmin(t)
	o.notReady = errors.New("no services yet")
	var e struct{ Error string }
	if code := o.do("GET", "/readyz", "", &e); code != 503 || e.Error != "no services yet" {
		t.Errorf("readyz: %d %q", code, e.Error)
	}
	o.notReady = nil
	for _, path := range []string{"/readyz", "/healthz", "/metrics", "/debug/pprof/", "/debug/pprof/cmdline"} {
		if code := o.do("GET", path, "", nil); code != 200 {
			t.Errorf("%s: %d", path, code)
		}
	}
}

func TestAdminNeedsItsParts(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("an admin API without parts was accepted")
	}
}
