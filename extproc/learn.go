package extproc

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/extproc/codec"
	"github.com/stateful-route/stateful-route/sessionkey"
)

// learn binds every session id that a response names to the pod that served it.
// An id that the request carried is left alone, wherever it stood: a pod that
// repeats an id has not created it, and a client could otherwise have its own
// pod take over somebody else's session. Where it is the request's own key, it
// was bound before the request left.
func (x *exchange) learn(ctx context.Context, h sessionkey.Headers, served *podView, now time.Time) {
	if served == nil || !x.learns() {
		return
	}
	ids, tooLong := x.service.learn.Learned(h, now)
	if tooLong > 0 {
		x.refuseKey(learnedTooLong, now)
	}
	for _, id := range ids {
		if key := sessionkey.TableKey(id); key != x.key && !x.carried.Names(id) {
			x.holdLearned(key, now)
			x.own(ctx, key, served, now)
		}
	}
}

// learned binds what a response names that Envoy's module holds until then. All else of its
// request the module has done and counted.
func (s *Server) learned(stream grpc.ServerStream, svc *service, h sessionkey.Headers) error {
	now := s.now()
	x := &exchange{server: s, service: svc, came: now, began: now}
	if x.learns() {
		x.carried = svc.named.Carried(h)
	}
	if keys := svc.carriedKeys(h); len(keys) > 0 {
		x.key = keys[0]
	}
	r := &codec.Message{}
	if err := stream.RecvMsg(r); err != nil {
		return endOfStream(err)
	}
	if r.Kind != codec.ResponseHeaders {
		return status.Error(codes.InvalidArgument, "the second message must be the response headers")
	}
	x.learn(stream.Context(), r.Headers, x.servingPod(r.Upstream), now)
	defer func() { x.release(s.now()) }()
	return stream.SendMsg(asItIs)
}

// own makes pod the owner of a session it created, before the client can hear
// of the session, whoever owned one of that id before.
func (x *exchange) own(ctx context.Context, id string, pod *podView, now time.Time) {
	table, _ := x.cores()
	name := x.service.policy.Name
	var err error
	for range maxTries {
		var b statefulroute.Binding
		if b, err = table.Claim(ctx, name, id, pod.Name, 0, now); err == nil {
			x.service.balancer.AddSessions(pod.Name, 1)
			return
		}
		if errors.Is(err, statefulroute.ErrConflict) {
			if b.Pod == pod.Name {
				return
			}
			if _, err = table.Reassign(ctx, b, pod.Name, now); err == nil {
				x.countLearnedMove(id, b.Pod, pod.Name)
				return
			}
		}
		if !errors.Is(err, statefulroute.ErrConflict) && !errors.Is(err, statefulroute.ErrGone) {
			break // full, or away: nothing to try again
		}
	}
	x.server.log.Warn("learned session not bound", x.fieldsOf(id, zap.String("pod", pod.Name), zap.Error(err))...)
	if !errors.Is(err, statefulroute.ErrFull) {
		x.service.metrics.Error(pod.Name, kindTableUnavailable)
	}
}
