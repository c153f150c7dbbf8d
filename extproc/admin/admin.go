package admin

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/adminhttp"
	"github.com/stateful-route/stateful-route/extproc"
	"github.com/stateful-route/stateful-route/extproc/xdsclient"
	"github.com/stateful-route/stateful-route/insight/tracing"
)

// Lister pages through the session table.
type Lister interface {
	// List returns ErrCursor for an after that no page gave as next.
	List(ctx context.Context, service, pod string, limit int, after string) (page []statefulroute.Binding, next string, err error)
}

// Editor shows and changes sessions for an operator. It says ErrGone of
// those that are not there.
type Editor interface {
	// Move puts a session on a pod whatever it was bound to.
	Move(ctx context.Context, service, key, to string, now time.Time) (statefulroute.Binding, error)
	// Peek returns a binding without renewing or counting it.
	Peek(ctx context.Context, service, key string, now time.Time) (statefulroute.Binding, error)
	// Remembered returns the pod of a binding that was evicted, to which the
	// session's next request will be bound.
	Remembered(ctx context.Context, service, key string, now time.Time) (pod string, err error)
	Delete(ctx context.Context, service, key string) error
	// Flush forgets all sessions of a service, those that were evicted included, and
	// returns how many had a binding.
	Flush(ctx context.Context, service string) (n int, err error)
}

// Options configures the admin handler.
type Options struct {
	// Directory knows the services and pods. Required.
	Directory *extproc.Directory
	// Lister and Editor are the session table. Required.
	Lister Lister
	Editor Editor
	// Metrics serves /metrics. Required.
	Metrics http.Handler
	// TableStats returns what /api/v1/stats shows of the session table, as JSON
	// would encode it. Required.
	TableStats func() any
	// Replicas is what this process knows of all that share its bindings. Required.
	Replicas func() Replicas
	// Ready says why the process is not ready; nil means that it is. Required.
	Ready func() error
	// Degraded says what works less than it should though the process is ready.
	// nil means that nothing ever does.
	Degraded func() []string
	// Freshness says how old the services and pods in force are. nil leaves it out
	// of /api/v1/stats.
	Freshness func() xdsclient.Freshness
	// Tracer makes the spans of an operator's changes. nil makes none.
	Tracer *tracing.Tracer
	// Log receives every change an operator makes, without the key. nil means silence.
	Log *zap.Logger
	// Now is the clock. nil means time.Now.
	Now func() time.Time
}

// admin serves the operator's HTTP API.
type admin struct {
	Options
}

// New returns the handler of the admin API: metrics, health, profiles,
// sessions, replicas and statistics. It is to be served by [adminhttp.Serve], which
// refuses what other sites' pages ask for.
func New(o Options) (http.Handler, error) {
	if o.Directory == nil || o.Lister == nil || o.Editor == nil || o.Metrics == nil || o.TableStats == nil || o.Replicas == nil || o.Ready == nil {
		return nil, errors.New("admin: Options needs Directory, Lister, Editor, Metrics, TableStats, Replicas and Ready")
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &admin{Options: o}
	mux := http.NewServeMux()
	adminhttp.Register(mux, adminhttp.Options{Metrics: o.Metrics, Ready: o.Ready, Degraded: o.Degraded})
	mux.HandleFunc("GET /api/v1/stats", a.stats)
	mux.HandleFunc("GET /api/v1/replicas", a.replicas)
	mux.HandleFunc("GET /api/v1/sessions", a.list)
	return a.route(adminhttp.JSONErrors(mux)), nil
}

// sessionPath precedes SERVICE/KEY, or SERVICE alone, which only DELETE takes.
const sessionPath = "/api/v1/sessions/"

// route takes single sessions out before the mux sees them: it would redirect
// keys that look like paths to be cleaned ("..", "a//b").
func (a *admin) route(mux http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest, ok := strings.CutPrefix(r.URL.EscapedPath(), sessionPath)
		switch {
		case !ok || rest == "":
			mux.ServeHTTP(w, r)
		case r.Method == http.MethodDelete && !strings.Contains(rest, "/"):
			a.flush(w, r, rest)
		default:
			a.session(w, r, rest)
		}
	})
}
