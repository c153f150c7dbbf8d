// Package adminhttp is what the admin ports of xds-server and extproc have in
// common: metrics, liveness, readiness, profiles, JSON answers and a server
// that ends with its context.
//
//	mux := http.NewServeMux()
//	adminhttp.Register(mux, adminhttp.Options{Metrics: monitor.Handler(), Ready: app.ready})
//	mux.HandleFunc("GET /api/v1/services", app.services)
//	err := adminhttp.Serve(ctx, listener, mux)
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
	"time"
)

// Options say what the common paths answer.
type Options struct {
	// Metrics serves /metrics.
	Metrics http.Handler
	// Ready says why the process is not ready yet; nil means it is.
	Ready func() error
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
		WriteJSON(w, http.StatusOK, map[string]string{"status": "ready"})
	})
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
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
// finish for up to two seconds. Loopback alone is no protection from the pages
// of other sites in an operator's browser: changes asked for by another origin
// are refused, and so, on a loopback listener, is everything that names another
// host, which is how a name that was pointed at 127.0.0.1 would come along.
func Serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	guarded := http.NewCrossOriginProtection().Handler(jsonErrors(handler))
	if at, ok := listener.Addr().(*net.TCPAddr); ok && at.IP.IsLoopback() {
		guarded = loopbackHosts(guarded)
	}
	server := &http.Server{
		Handler:           guarded,
		ReadHeaderTimeout: 5 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve admin: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		_ = server.Close() // what did not end in time is cut
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve admin: %w", err)
	}
	return nil
}

// loopbackHosts refuses requests whose Host is neither localhost nor a loopback
// address.
func loopbackHosts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := (&url.URL{Host: r.Host}).Hostname()
		if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
			WriteError(w, http.StatusForbidden, fmt.Errorf("host %q is refused: this address is for localhost only", host))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// jsonErrors answers unknown paths and methods, which the mux would answer in
// plain text, as the rest of the API does.
func jsonErrors(next http.Handler) http.Handler {
	mux, ok := next.(*http.ServeMux)
	if !ok {
		return next
	}
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
