package extproc

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/sessionkey"
)

// Why a session key is not taken, as counted and logged.
const (
	keyTooLong     = "too_long"
	learnedTooLong = "learned_too_long"
)

// refusals says when a service's refused keys were last logged.
type refusals struct{ logged atomic.Int64 }

// refusalLogInterval is how often a service's refused keys are logged at most: what a
// client sends must not fill the log.
const refusalLogInterval = time.Minute

// due reports whether a line may be logged now, to one caller only.
func (r *refusals) due(now time.Time) bool {
	last := r.logged.Load()
	return (last == 0 || now.Sub(time.Unix(0, last)) >= refusalLogInterval) && r.logged.CompareAndSwap(last, now.UnixNano())
}

// refuseKey makes it visible that what a request or response names a session by is not
// taken: the session may be unbound.
func (x *exchange) refuseKey(reason string, now time.Time) {
	x.service.metrics.KeyRefused(reason)
	if x.service.refusals.due(now) {
		x.server.log.Warn("a session key is not taken: its session may be unbound. Told once a minute, counted in stateful_route_keys_refused_total",
			zap.String("service", x.service.policy.Name), zap.String("reason", reason), zap.Int("most_bytes", sessionkey.MaxKey))
	}
}
