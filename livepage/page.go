package livepage

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/insight/analysis"
)

//go:embed assets
var files embed.FS

// Options configures a Page.
type Options struct {
	// State assembles what the page shows at now. It is called at most four times
	// a second, however many pages are open, and not at all while none is. It
	// must be safe for use from any goroutine. Required.
	State func(now time.Time) State
	// Logger is told of states that cannot be sent. nil means nobody is.
	Logger *zap.Logger
	// MaxStreams is the number of pages that may be open at once; more get 503.
	// 0 means 64.
	MaxStreams int
}

func (o *Options) validate() error {
	if o.State == nil {
		return errors.New("livepage: State is required")
	}
	if o.MaxStreams < 0 {
		return fmt.Errorf("livepage: MaxStreams is negative: %d", o.MaxStreams)
	}
	if o.MaxStreams == 0 {
		o.MaxStreams = 64
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return nil
}

// Page serves the live page. Its methods are safe for concurrent use.
type Page struct {
	logger       *zap.Logger
	feed         *feed
	maxStreams   int64
	writeTimeout time.Duration // a client that takes longer to read an event is dropped
	streams      atomic.Int64
}

// New returns a page whose charts are empty. It needs no closing: its streams
// end with their requests.
func New(o Options) (*Page, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	return &Page{
		logger: o.Logger, maxStreams: int64(o.MaxStreams), writeTimeout: 5 * time.Second,
		feed: &feed{assemble: o.State, history: &history{}},
	}, nil
}

// Observe adds to the charts what the services did since the call before; about
// once a second is expected. Services are all that exist: others are forgotten.
func (p *Page) Observe(now time.Time, services []string, samples map[string]analysis.ServiceSample) {
	totals := make(map[string]analysis.PodSample, len(services))
	for _, name := range services {
		totals[name] = samples[name].Total()
	}
	p.feed.history.add(now, totals)
}

// Register adds the page, its assets and its stream to mux.
func (p *Page) Register(mux *http.ServeMux) {
	mux.Handle("GET /{$}", asset("page.html", "text/html; charset=utf-8"))
	mux.Handle("GET /assets/page.css", asset("page.css", "text/css; charset=utf-8"))
	mux.Handle("GET /assets/page.js", asset("page.js", "text/javascript; charset=utf-8"))
	mux.Handle("GET /assets/icon.svg", asset("icon.svg", "image/svg+xml"))
	mux.HandleFunc("GET /api/v1/live", p.stream)
}

// asset serves one embedded file.
func asset(name, contentType string) http.Handler {
	content, err := files.ReadFile("assets/" + name)
	if err != nil {
		panic(err) // the file is part of the program
	}
	tag := fmt.Sprintf("%q", fmt.Sprintf("%x", sha256.Sum256(content))[:16])
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protect(w.Header())
		w.Header().Set("Content-Type", contentType)
		// Asked for again every time, and sent again only after an upgrade.
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", tag)
		http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
	})
}

// contentSecurityPolicy allows our own files and nothing else. Trusted types
// without any policy make every attempt to turn text into markup an error.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// protect sets what keeps other sites' pages away from this one.
func protect(h http.Header) {
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}
