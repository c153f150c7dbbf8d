package adminhttp

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCommonPaths(t *testing.T) {
	ready := errors.New("no configuration from xds-server yet")
	var degraded []string
	mux := http.NewServeMux()
	Register(mux, Options{
		Metrics:  http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("up 1\n")) }),
		Ready:    func() error { return ready },
		Degraded: func() []string { return degraded },
	})
	mux.HandleFunc("POST /change", func(w http.ResponseWriter, _ *http.Request) { WriteJSON(w, http.StatusOK, nil) })
	base := start(t, mux)

	for _, c := range []struct {
		method, path string
		header       map[string]string
		status       int
		holds        string
	}{
		{"GET", "/healthz", nil, 200, `"ok"`},
		{"GET", "/readyz", nil, 503, `{"error":"no configuration from xds-server yet"}`},
		{"GET", "/metrics", nil, 200, "up 1"},
		{"GET", "/debug/pprof/", nil, 200, "goroutine"},
		{"GET", "/nowhere", nil, 404, `{"error":"GET /nowhere: Not Found"}`},
		{"DELETE", "/healthz", nil, 405, `{"error":"DELETE /healthz: Method Not Allowed"}`},
		{"POST", "/change", nil, 200, "null"},
		{"POST", "/change", map[string]string{"Origin": "https://evil.example"}, 403, `{"error":"cross-origin`},
		{"POST", "/change", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403, `{"error":"cross-origin`},
	} {
		status, body := call(t, c.method, base+c.path, c.header)
		if status != c.status || !strings.Contains(compact(body), c.holds) {
			t.Errorf("%s %s: got %d %q, want %d %q", c.method, c.path, status, body, c.status, c.holds)
		}
	}
	ready = nil
	if status, body := call(t, "GET", base+"/readyz", nil); status != 200 || compact(body) != `{"status":"ready"}` {
		t.Errorf("ready: got %d %q", status, body)
	}
	degraded = []string{"bindings cannot be written"}
	if status, body := call(t, "GET", base+"/readyz", nil); status != 200 || compact(body) != `{"degraded":["bindings cannot be written"],"status":"ready"}` {
		t.Errorf("degraded: got %d %q", status, body)
	}
}

// A name that somebody else pointed here is refused on every listener: what is
// published on a machine's loopback may listen on all addresses of a container.
func TestServerAnswersOnlyToItsOwnNames(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "0.0.0.0:0"} {
		mux := http.NewServeMux()
		Register(mux, Options{Metrics: http.NotFoundHandler(), Ready: func() error { return nil }})
		base := startAt(t, address, mux, "Admin.example", "other.example")
		for host, want := range map[string]int{
			"localhost:18001": 200, "localhost": 200, "localhost.:1": 200, "xds-server:18001": 200,
			"127.0.0.1:18001": 200, "[::1]:18001": 200, "[fe80::1%25eth0]:1": 200, "10.0.0.1": 200,
			"admin.example:18001": 200, "ADMIN.EXAMPLE.": 200, "other.example": 200,
			"evil.example:18001": 403, "localhost.evil.example": 403, "evil.admin.example": 403, "127.0.0.1.evil.example": 403,
			"evil.example.": 403, "127.0.0.1.": 403,
		} {
			status, body := call(t, "GET", base+"/healthz", map[string]string{"Host": host})
			if status != want || want == 403 && !strings.Contains(body, `"error": "host`) {
				t.Errorf("%s, host %s: got %d %s, want %d", address, host, status, body, want)
			}
		}
	}
}

func start(t *testing.T, handler http.Handler) string {
	t.Helper()
	return startAt(t, "127.0.0.1:0", handler)
}

func startAt(t *testing.T, address string, handler http.Handler, hosts ...string) string {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Serve(ctx, listener, handler, hosts...) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "http://127.0.0.1:" + port
}

func call(t *testing.T, method, url string, header map[string]string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header.Set(k, v)
	}
	if host, ok := header["Host"]; ok {
		req.Host = host
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func compact(s string) string {
	var v any
	if json.Unmarshal([]byte(s), &v) != nil {
		return s
	}
	out, _ := json.Marshal(v)
	return string(out)
}
