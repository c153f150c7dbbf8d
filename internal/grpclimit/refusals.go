package grpclimit

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Refusal is the error with which a stream beyond a bound ends.
type Refusal struct {
	// Limit names the bound: a value of the label of the metric.
	Limit  string
	status *status.Status
}

// Refuse returns a refusal. The message is for the client, and for the log.
func Refuse(limit string, code codes.Code, format string, args ...any) *Refusal {
	return &Refusal{Limit: limit, status: status.Newf(code, format, args...)}
}

// Error is the message with its code.
func (r *Refusal) Error() string { return r.status.Err().Error() }

// GRPCStatus is what the client gets.
func (r *Refusal) GRPCStatus() *status.Status { return r.status }

// quiet is how long a bound is not logged again after a line.
const quiet = 10 * time.Second

// refusals counts what was refused and logs a part of it: one that hammers does
// so thousands of times a second.
type refusals struct {
	log   *zap.Logger
	total *prometheus.CounterVec

	mu     sync.Mutex
	logged map[string]*logged // by limit
}

type logged struct {
	at    time.Time
	since int // refused and not logged
}

func newRefusals(log *zap.Logger) *refusals {
	return &refusals{
		log: log,
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "stateful_route_grpc_refused_total",
			Help: "Connections, streams and messages of gRPC clients that were refused, by the limit they went beyond.",
		}, []string{"limit"}),
		logged: map[string]*logged{},
	}
}

func (r *refusals) add(now time.Time, limit, peer, why string) {
	r.total.WithLabelValues(limit).Inc()
	if since, ok := r.due(now, limit); ok {
		r.log.Warn("a gRPC client was refused", zap.String("limit", limit), zap.String("peer", peer),
			zap.String("reason", why), zap.Int("not_logged", since))
	}
}

// due reports whether the refusal is to be logged, and how many before were not.
func (r *refusals) due(now time.Time, limit string) (since int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.logged[limit]
	if l == nil {
		l = &logged{}
		r.logged[limit] = l
	}
	if !l.at.IsZero() && now.Sub(l.at) < quiet {
		l.since++
		return 0, false
	}
	since, l.at, l.since = l.since, now, 0
	return since, true
}

func tooMany(limit string, most int, what string) *Refusal {
	return Refuse(limit, codes.ResourceExhausted, "too many %s: at most %d", what, most)
}
