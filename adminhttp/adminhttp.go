// Package adminhttp is what the admin ports of xds-server and extproc have in
// common: metrics, liveness, readiness, profiles, JSON answers and a server
// that ends with its context.
package adminhttp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Options say what the common paths answer.
type Options struct {
	// Metrics serves /metrics.
	Metrics http.Handler
	// Ready says why the process is not ready yet; nil means it is.
	Ready func() error
	// Degraded says what works less than it should though the process is ready;
	// nil means that nothing ever does.
	Degraded func() []string
}

// Register adds /metrics, /healthz, /readyz and /debug/pprof/ to mux.
func Register(mux *http.ServeMux, o Options) {
	mux.Handle("GET /metrics", o.Metrics)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		WriteJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Ready(); err != nil {
			WriteError(w, http.StatusServiceUnavailable, err)
			return
		}
		WriteJSON(w, http.StatusOK, readiness{Status: "ready", Degraded: o.degraded()})
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
}

// readiness is the answer of a process that is ready. What is degraded does not
// make it unready: it still serves better than the nobody that would take its
// place.
type readiness struct {
	Status   string   `json:"status"`
	Degraded []string `json:"degraded,omitempty"`
}

func (o *Options) degraded() []string {
	if o.Degraded == nil {
		return nil
	}
	return o.Degraded()
}

// WriteJSON answers with v as JSON.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	// A write error means that the client went away: nobody is left to tell.
	_ = enc.Encode(v)
}

// WriteError answers {"error": "…"}.
func WriteError(w http.ResponseWriter, status int, err error) {
	WriteJSON(w, status, map[string]string{"error": err.Error()})
}

// Serve answers on listener until ctx ends, then lets requests in flight
// finish for up to half a second: whoever starts the process again waits for it.
//
// An address that only the operator's machine reaches is no protection from the
// pages of other sites in the operator's browser: changes asked for by another
// origin are refused, and so is everything that names a host which somebody else
// could have pointed here. IP addresses, names of one label (localhost, a
// container's name) and the further hosts are not such: a browser takes no page of
// another site for theirs.
//
// Connections, headers, bodies and the time that a client may take for each are
// bounded.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler, hosts ...string) error {
	return standardBounds().serve(ctx, listener, handler, hosts)
}

func (b bounds) serve(ctx context.Context, listener net.Listener, handler http.Handler, hosts []string) error {
	if mux, ok := handler.(*http.ServeMux); ok {
		handler = JSONErrors(mux)
	}
	origins := http.NewCrossOriginProtection()
	origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		WriteError(w, http.StatusForbidden, origins.Check(r))
	}))
	guarded := ownHosts(hosts, origins.Handler(b.withBody(handler)))
	server := &http.Server{
		Handler:           patient(patience, guarded),
		ReadHeaderTimeout: b.headerTime,
		IdleTimeout:       b.idleTime,
		MaxHeaderBytes:    b.header,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(b.listener(listener)) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve admin: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 500*time.Millisecond)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		_ = server.Close() // what did not end in time is cut
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve admin: %w", err)
	}
	return nil
}

// ownHosts refuses requests to names that are not known to be this server's: DNS
// may lead any name here, and the pages under that name would be of one origin
// with this server.
func ownHosts(hosts []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host := (&url.URL{Host: r.Host}).Hostname(); !isOwn(host, hosts) {
			WriteError(w, http.StatusForbidden, fmt.Errorf("host %q is refused: if it is this server's, name it in admin_hosts", host))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isOwn(host string, hosts []string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	host = strings.TrimSuffix(host, ".")
	return host != "" && !strings.Contains(host, ".") ||
		slices.ContainsFunc(hosts, func(own string) bool { return strings.EqualFold(own, host) })
}

// JSONErrors answers unknown paths and methods, which the mux would answer in
// plain text, as the rest of the API does. Serve does so for a bare mux.
func JSONErrors(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		recorder := &statusOnly{header: http.Header{}}
		mux.ServeHTTP(recorder, r)
		for _, name := range []string{"Allow", "Location"} {
			if v := recorder.header.Get(name); v != "" {
				w.Header().Set(name, v)
			}
		}
		WriteError(w, recorder.status, fmt.Errorf("%s %s: %s", r.Method, r.URL.Path, http.StatusText(recorder.status)))
	})
}

// statusOnly keeps an answer's status and headers and drops its body.
type statusOnly struct {
	header http.Header
	status int
}

func (s *statusOnly) Header() http.Header         { return s.header }
func (s *statusOnly) WriteHeader(status int)      { s.status = status }
func (s *statusOnly) Write(b []byte) (int, error) { return len(b), nil }
