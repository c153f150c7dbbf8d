package extproc

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/extproc/codec"
	"github.com/stateful-route/stateful-route/sessionkey"
	"github.com/stateful-route/stateful-route/wire"
)

// lateRetry is how old a request may be that is tried once more. One that meets a
// connection which its pod is closing fails at once; one that fails later was being
// served, or could not be connected, for which Envoy waits a second.
const lateRetry = 750 * time.Millisecond

// idempotent are the methods of requests that may be sent twice (RFC 9110, 9.2.2).
func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// mayRepeat reports whether the request may be tried once more at its pod: its session
// is bound, and can be found again by what the request carries.
func (x *exchange) mayRepeat() bool {
	return idempotent(x.method) && !x.issued && x.decision.outcome != atHome
}

// confirm answers whether a request that failed may be sent to its pod once more: the
// session may have been moved since it was decided. It changes nothing.
func (s *Server) confirm(stream grpc.ServerStream, svc *service, first *codec.Message) error {
	now, pod := s.now(), first.BoundPod
	reason := ""
	if pod != "" { // else the request is not bound
		reason = svc.confirm(stream.Context(), s.table, svc.carriedKeys(first.Headers), pod, first.Upstream, now.Sub(requestTime(first)), now)
	}
	if reason == "" {
		return stream.SendMsg(confirmed)
	}
	s.log.Info("a request is not tried again", zap.String("service", svc.policy.Name), zap.String("pod", pod), zap.String("reason", reason))
	return stream.SendMsg(refusal(reason, "the pod of this session gave no answer", ""))
}

// confirm returns why a request, which came some time ago and was bound to a pod, may
// not be sent once more to an address; empty: it may. Envoy knows the pod by its name,
// and must mean the same one.
func (s *service) confirm(ctx context.Context, table Table, keys []string, pod, address string, age time.Duration, now time.Time) (reason string) {
	if age > lateRetry || age < -lateRetry {
		return wire.ReasonLateRetry
	}
	c := chooser{ctx: ctx, service: s, table: table, now: now}
	b, err := c.first(keys, table.Lookup)
	if errors.Is(err, statefulroute.ErrGone) { // here: another replica may have decided the request
		b, err = c.first(keys, table.Find)
	}
	switch {
	case errors.Is(err, statefulroute.ErrGone):
		return wire.ReasonMoved
	case errors.Is(err, statefulroute.ErrPodLost):
		return wire.ReasonPodLost
	case err != nil:
		return wire.ReasonTableUnavailable
	case b.Pod != pod:
		return wire.ReasonMoved
	}
	switch serving := c.servedBy(b); {
	case serving == nil:
		return wire.ReasonPodLost
	case serving.Address.String() != address:
		return wire.ReasonMoved
	}
	return ""
}

// carriedKeys are what a request names its session by.
func (s *service) carriedKeys(h sessionkey.Headers) []string {
	keys, source := s.keys.Keys(h)
	if s.policy.Session.Issue != nil && source == s.issueFrom {
		for i, value := range keys {
			keys[i], _ = unstamped(value)
		}
	}
	return keys
}

// requestTime is when Envoy had the request; zero where it does not say.
func requestTime(m *codec.Message) time.Time {
	came, _ := time.Parse(time.RFC3339Nano, m.RequestTime) // zero is long ago
	return came
}
