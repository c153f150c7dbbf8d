package extproc

import (
	"slices"
	"time"

	"go.uber.org/zap"
)

// count makes a decision visible: metrics, session counts, and a log line for
// what an operator may want to know of.
func (x *exchange) count() {
	d, svc := &x.decision, x.service
	switch d.outcome {
	case unbound:
		return
	case undecidable, moving:
		x.server.log.Warn("the session table did not answer: the request is refused", x.fields(zap.Error(d.err))...)
		return
	}
	if d.hit {
		svc.metrics.TableHit()
		svc.lookups.hits.Add(1)
	} else if !x.issued { // a session we have just named cannot have been known
		svc.metrics.TableMiss()
		svc.lookups.misses.Add(1)
	}
	switch d.outcome {
	case claimed:
		svc.balancer.AddSessions(d.pod.Name, 1)
	case rebound:
		svc.balancer.AddSessions(d.pod.Name, 1)
		svc.balancer.AddSessions(d.lost, -1)
		svc.metrics.Rebound(d.why)
		x.server.log.Info("session rebound", x.fields(zap.String("from", d.lost),
			zap.String("to", d.pod.Name), zap.Uint64("epoch", d.epoch), zap.String("why", d.why))...)
	case podLost:
		x.server.log.Info("request refused: its session's pod is lost", x.fields(
			zap.String("pod", d.lost), zap.String("why", d.why))...)
	case noPods:
		x.server.log.Warn("request refused: no pod can take its session", x.fields(zap.Error(d.err))...)
	case atHome:
		if log := x.server.log.Check(zap.DebugLevel, "session not bound, served at its home"); log != nil {
			log.Write(x.fields(zap.Error(d.err))...)
		}
	}
}

// kindTableUnavailable is the kind of error under which a request is counted that
// was decided without the table.
const kindTableUnavailable = "table_unavailable"

// kindMoving is that of a request of a session that was being moved.
const kindMoving = "session_moving"

// countLate makes it visible that Envoy did not wait for an answer: that
// message_timeout had passed or, rarely, that the client had left. Which of the
// two, an extproc cannot see; nor which pod the request then went to, so it is
// no pod's.
func (s *Server) countLate(svc *service, method string, took time.Duration, traceID string) {
	svc.metrics.Error("", "late")
	svc.metrics.Request("", method, 0, took, traceID)
	s.log.Warn("answer came too late: Envoy went on without it after message_timeout, or the client had left",
		zap.String("service", svc.policy.Name), zap.Duration("took", took))
}

// rebindLearned is the reason for which a session is rebound when another pod
// says that it created it.
const rebindLearned = "learned"

// countLearnedMove makes it visible that a session of a known id is now another
// pod's.
func (x *exchange) countLearnedMove(id, from, to string) {
	svc := x.service
	svc.balancer.AddSessions(to, 1)
	svc.balancer.AddSessions(from, -1)
	svc.metrics.Rebound(rebindLearned)
	x.server.log.Warn("session moved to the pod that says it created it", x.fieldsOf(id,
		zap.String("from", from), zap.String("to", to))...)
}

// fields names the request's session in a log line.
func (x *exchange) fields(more ...zap.Field) []zap.Field { return x.fieldsOf(x.key, more...) }

// fieldsOf names a session in a log line, by the hash of its key.
func (x *exchange) fieldsOf(key string, more ...zap.Field) []zap.Field {
	name := x.service.policy.Name
	return slices.Concat([]zap.Field{
		zap.String("service", name),
		zap.String("session", x.server.hasher.hash(name, key)),
	}, more)
}
