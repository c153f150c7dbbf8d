// Command grafana stands in for Grafana where compose-test can reach no image
// registry. It is no Grafana: it draws nothing. It reads the provisioning folder as
// Grafana does, refuses what Grafana could not use (an unknown field, a data source
// without a URL, a dashboard that is no JSON or asks for a data source that is not
// there), and answers those few paths of Grafana's API that compose-test asks for,
// the way to the data source included.
//
//	grafana [-listen :3000] [-root /]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", ":3000", "address to serve on")
	root := flag.String("root", "/", "folder that every path is below")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *listen, *root)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "stand-in for Grafana:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen, root string) error {
	p, err := load(root)
	if err != nil {
		return err
	}
	for uid, d := range p.dashboards {
		fmt.Fprintf(os.Stderr, "stand-in for Grafana: dashboard %s, %d panels\n", uid, len(d.Panels))
	}
	server := &http.Server{Addr: listen, Handler: p.handler(), ReadHeaderTimeout: 5 * time.Second}
	stopped := make(chan error, 1)
	detach := context.AfterFunc(ctx, func() { stopped <- server.Close() })
	if err := server.ListenAndServe(); detach() || !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// handler answers as Grafana does, in as far as compose-test asks.
func (p *provisioned) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/health", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]string{"database": "ok", "version": "stand-in"})
	})
	mux.HandleFunc("GET /api/dashboards/uid/{uid}", func(w http.ResponseWriter, r *http.Request) {
		d, ok := p.dashboards[r.PathValue("uid")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		answer(w, map[string]any{"meta": map[string]any{"provisioned": true}, "dashboard": d})
	})
	for uid, target := range p.datasources {
		prefix := "/api/datasources/proxy/uid/" + uid
		mux.Handle("GET "+prefix+"/", http.StripPrefix(prefix, forward(target)))
	}
	return mux
}

func forward(target *url.URL) http.Handler {
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	// A write error means that the client went away: nobody is left to tell.
	_ = json.NewEncoder(w).Encode(v)
}
