package extproc

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.uber.org/zap"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/sessionkey"
)

// ending is a kind of request by which a client ends its session.
type ending struct {
	method string
	path   *regexp.Regexp // nil for any
}

func openEnds(ends []statefulroute.SessionEnd) ([]ending, error) {
	var out []ending
	for _, end := range ends {
		e := ending{method: end.Method}
		if end.Path != "" {
			pattern, err := regexp.Compile(end.Path)
			if err != nil {
				return nil, fmt.Errorf("path of a request that ends its session: %w", err)
			}
			e.path = pattern
		}
		out = append(out, e)
	}
	return out, nil
}

// matches compares the path as it was sent, without its query.
func (e ending) matches(method string, h sessionkey.Headers) bool {
	if method != e.method {
		return false
	}
	path, _, _ := strings.Cut(h.Value(":path"), "?")
	return e.path == nil || e.path.MatchString(path)
}

// endsSession reports whether the request is to end the session that it names; a session
// that it is only now given does not end by it.
func (x *exchange) endsSession(h sessionkey.Headers) bool {
	return x.decision.pod != nil && !x.issued &&
		slices.ContainsFunc(x.service.ends, func(e ending) bool { return e.matches(x.method, h) })
}

// endSession frees the binding of a session once its pod has agreed that it is over, so
// that nobody waits for it any more. Who names it again begins a new session.
func (x *exchange) endSession(ctx context.Context, served *podView) {
	if !x.ends || served == nil || x.status < 200 || x.status > 299 {
		return
	}
	table, _ := x.cores()
	ended := statefulroute.Binding{Service: x.service.policy.Name, Key: x.key, Pod: served.Name, Epoch: x.decision.epoch}
	err := table.End(ctx, ended, x.answered)
	switch {
	case err == nil:
		x.service.balancer.AddSessions(served.Name, -1)
		x.span.Event("session ended", served.Name)
	case !errors.Is(err, statefulroute.ErrGone): // moved meanwhile, or forgotten
		x.server.log.Warn("ended session not freed", x.fields(zap.String("pod", served.Name), zap.Error(err))...)
		x.service.metrics.Error(served.Name, kindTableUnavailable)
	}
}
