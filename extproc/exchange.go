package extproc

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/extproc/codec"
	"github.com/stateful-route/stateful-route/insight/tracing"
	"github.com/stateful-route/stateful-route/sessionkey"
	"github.com/stateful-route/stateful-route/wire"
)

// exchange is one HTTP request and its response, from the first message of its
// stream to the stream's end.
type exchange struct {
	server  *Server
	service *service
	span    tracing.RequestSpan
	came    time.Time // of the stream
	began   time.Time // of the decision: what the stream waited before is not the pod's
	message codec.Message
	stays   holder

	// From the request.
	method    string
	tls       bool
	preflight bool               // a browser's question, see isPreflight
	carried   sessionkey.Carried // for services that learn
	key       string
	due       []string // ids whose cookies are to be renewed
	issued    bool     // key is an id of ours that the client does not have yet
	source    int      // of key, -1 for none or an issued one
	held      bool     // key's session is in use by this request
	gives     bool     // the response gives the client a cookie with key
	ends      bool     // key's session is over once its pod has answered well

	// What was decided.
	decision decision
	answer   *codec.Answer
	sampler  *sampler
	asked    bool // the response headers were asked for
	late     bool // nobody waited for the answer any more
	drained  bool // the stream was ended by us, when it was decided
	shown    bool // Envoys were told that they need not ask for the session

	// From the response; zero until then.
	status   int
	answered time.Time
	served   string   // the pod that served an unbound request
	learned  []string // the sessions that it named, which are in use as well
}

// begin reads the request and decides.
func (x *exchange) begin(ctx context.Context, h sessionkey.Headers) {
	s := x.server
	_, x.span = s.tracer.Request(ctx, metadataValue(ctx), h.Value, x.service.policy.Name)
	x.method = methodOf(h)
	x.tls = cameByTLS(h)
	x.preflight = isPreflight(x.method, h)
	if x.learns() {
		x.carried = x.service.named.Carried(h)
	}
	keys := x.keys(h)
	table, place := x.cores()
	x.decision = x.service.decide(ctx, table, place, keys, x.began)
	x.key = x.decision.key
	x.hold()
	x.gives = x.givesCookie()
	x.ends = x.endsSession(h)
	x.count()
	x.answer = x.requestAnswer()
	if !x.asked {
		x.decision.picked.Unwatched()
	}
}

// methodOf is the request's method as a text that keeps nothing else of the request.
func methodOf(h sessionkey.Headers) string {
	method := h.Value(":method")
	for _, usual := range [...]string{"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"} {
		if method == usual {
			return usual
		}
	}
	return strings.Clone(method)
}

// keys are what the request names its session by, or an id that it is given.
func (x *exchange) keys(h sessionkey.Headers) (keys []string) {
	if x.source = -1; x.preflight {
		return nil
	}
	if x.service.keys.TooLong(h) {
		x.refuseKey(keyTooLong, x.began)
	}
	keys, x.source = x.service.keys.Keys(h)
	issue := x.service.policy.Session.Issue
	switch {
	case issue == nil:
	case len(keys) == 0:
		keys, x.issued = []string{newSessionID()}, true
	case x.source == x.service.issueFrom:
		for i, value := range keys {
			id, ends := unstamped(value)
			if keys[i] = id; renewalDue(issue, ends, x.began) {
				x.due = append(x.due, id)
			}
		}
	}
	return keys
}

// givesCookie reports whether the response gives the client a cookie: a new one, or its
// own anew. A session that is not bound gets none.
func (x *exchange) givesCookie() bool {
	return x.decision.pod != nil && x.decision.outcome != atHome && (x.issued || slices.Contains(x.due, x.key))
}

// isPreflight reports whether a browser asks if it may send another request (CORS). It
// sends no cookie along and keeps none, and any pod can answer: there is no session yet.
func isPreflight(method string, h sessionkey.Headers) bool {
	return method == "OPTIONS" && h.Value(wire.PreflightHeader) != ""
}

// learns reports whether the response may name a session.
func (x *exchange) learns() bool { return x.service.learn != nil && !x.preflight }

// requestAnswer builds the answer to the request headers and settles whether
// the response is worth a look.
func (x *exchange) requestAnswer() *codec.Answer {
	d, svc := &x.decision, x.service
	if r, ok := refusals503[d.outcome]; ok {
		x.status = 503
		cookie := ""
		if d.outcome == podLost {
			cookie = x.cookieOfLostSession()
		}
		return refusal(r.reason, r.text, cookie)
	}
	if d.outcome == unbound {
		x.sampler = svc.unbound
		x.asked = x.sampler.take(x.began) || x.learns() || x.span.Recording()
		return x.server.unbound.choose(x.asked)
	}
	x.sampler = d.pod.sampler
	x.asked = x.sampler.take(x.began) || x.learns() || x.gives || x.ends ||
		d.outcome == claimed || d.outcome == rebound || x.span.Recording()
	return x.boundAnswer()
}

// boundAnswer sends the request to the pod that was decided for.
func (x *exchange) boundAnswer() *codec.Answer {
	d := &x.decision
	answers := &d.pod.answers
	if x.mayRepeat() {
		answers = &d.pod.again
	}
	answer := answers.choose(x.asked)
	if x.service.policy.Session.EpochHeader && d.epoch != 0 {
		return withEpoch(answer, d.epoch)
	}
	return answer
}

// refusedFor is how a request is refused: what its client is told, what is counted, and
// the error of its span, where the decision has none of its own.
type refusedFor struct {
	reason, text, kind string
	err                error
}

var refusals503 = map[outcome]refusedFor{
	podLost:     {wire.ReasonPodLost, "the pod of this session is gone", "pod_lost", errPodLost},
	noPods:      {wire.ReasonNoPods, "no pod can take this session", "no_pods", errNoPods},
	undecidable: {wire.ReasonTableUnavailable, "the session table did not answer", kindTableUnavailable, nil},
	moving:      {wire.ReasonSessionMoving, "the session is being moved", kindMoving, nil},
}

// refused reports whether the request was answered in the pod's stead.
func (x *exchange) refused() bool {
	_, refused := refusals503[x.decision.outcome]
	return refused
}

// cookieOfLostSession takes back a cookie of ours whose pod is gone for good:
// the client could not begin a new session by itself.
func (x *exchange) cookieOfLostSession() string {
	if x.decision.why != lostRemoved || x.source < 0 || x.source != x.service.issueFrom {
		return ""
	}
	return expiredCookie(x.service.policy.Session.Issue)
}

// next answers a message after the first; nil for one that cannot be answered.
func (x *exchange) next(ctx context.Context, m *codec.Message) *codec.Answer {
	if m.Kind != codec.ResponseHeaders {
		return passOn[m.Kind]
	}
	return x.response(ctx, m.Headers, m.Upstream)
}

// response looks at the response headers: who served, how it went, which
// session it names.
func (x *exchange) response(ctx context.Context, h sessionkey.Headers, upstream string) *codec.Answer {
	x.answered = x.server.now()
	x.status, _ = strconv.Atoi(h.Value(":status")) // 0 for what is not a number: not known
	if x.status >= 500 {
		x.sampler.failed(x.answered)
	}
	pod := x.servingPod(upstream)
	if pod != nil {
		x.served = pod.Name
		x.checkRoute(pod)
		if x.status > 0 && x.status < 500 {
			pod.times.observe(x.answered.Sub(x.began))
		}
	}
	x.decision.picked.Answered(x.answered, x.outcome()) // a stream's end may be hours away
	x.learn(ctx, h, pod, x.answered)
	x.endSession(ctx, pod)
	x.show(x.answered)
	x.carried = nil
	if !x.gives {
		return asItIs
	}
	return changedResponse(cookieMutation(issuedCookie(x.service.policy.Session.Issue, x.key, x.tls, x.answered), privately(h)))
}

// servingPod is the pod at the upstream address or, where Envoy did not tell,
// the one the request was sent to.
func (x *exchange) servingPod(upstream string) *podView {
	if upstream == "" {
		return x.decision.pod
	}
	if pod := x.service.podAt(upstream); pod != nil {
		return pod
	}
	if n := x.service.current(); n != nil {
		return n.podAt(upstream)
	}
	return nil
}

func (x *exchange) checkRoute(served *podView) {
	bound := x.decision.pod
	if bound == nil || bound.Name == served.Name {
		return
	}
	x.service.metrics.Misroute(bound.Name)
	x.span.Event("misroute", served.Name)
	x.server.log.Warn("request served by another pod than its session's", x.fields(
		zap.String("pod", bound.Name), zap.String("served_by", served.Name))...)
}

// hold has the request's session be in use until the exchange is over: for as long as a
// WebSocket is open. Which session that is, the decision has chosen.
func (x *exchange) hold() {
	if x.key == "" || x.decision.outcome == undecidable || x.decision.outcome == moving {
		return
	}
	x.held = true
	x.server.table.Hold(x.service.policy.Name, x.key, x.began)
}

// holdLearned is hold for a session that the response names.
func (x *exchange) holdLearned(id string, now time.Time) {
	x.learned = append(x.learned, id)
	x.server.table.Hold(x.service.policy.Name, id, now)
}

// release says that the sessions are in use no more.
func (x *exchange) release(now time.Time) {
	name := x.service.policy.Name
	if x.held {
		x.server.table.Release(name, x.key, now)
	}
	for _, id := range x.learned {
		x.server.table.Release(name, id, now)
	}
}

// end settles the exchange when its stream is over, however it ended.
func (x *exchange) end() {
	now := x.server.now()
	x.release(now)
	x.decision.picked.Done(now, x.outcome())
	x.measure(now.Sub(x.came))
	x.span.End(x.status, x.failure())
}

// measure counts the request once, under what went wrong if anything did.
func (x *exchange) measure(took time.Duration) {
	m, pod := x.service.metrics, x.podName()
	switch {
	case x.late:
		x.server.countLate(x.service, x.method, took, x.span.TraceID())
		return
	case x.refused():
		m.Refused(x.method, refusals503[x.decision.outcome].kind, x.status, took, x.span.TraceID())
		return
	case x.aborted():
		m.Error(pod, "aborted")
	}
	m.Request(pod, x.method, x.status, took, x.span.TraceID())
}

// aborted reports whether the stream ended before a response that was asked for.
func (x *exchange) aborted() bool { return x.asked && x.status == 0 && !x.drained }

// owes reports whether the response has yet to give its client something, or to end its
// session. A cookie that is not renewed by this response is by the next.
func (x *exchange) owes() bool {
	return x.asked && x.answered.IsZero() && (x.gives && x.issued || x.learns() || x.ends)
}

func (x *exchange) outcome() balancing.Outcome {
	switch {
	case x.late || x.aborted():
		return balancing.Outcome{Kind: balancing.Aborted}
	case x.status == 0:
		return balancing.Outcome{Kind: balancing.Unknown}
	case x.status >= 500:
		return balancing.Outcome{Kind: balancing.Failure, ResponseTime: x.answered.Sub(x.began)}
	}
	return balancing.Outcome{Kind: balancing.Success, ResponseTime: x.answered.Sub(x.began)}
}

func (x *exchange) podName() string {
	if x.decision.pod != nil {
		return x.decision.pod.Name
	}
	return x.served
}

var (
	errLate    = errors.New("nobody waited for the answer any more")
	errAborted = errors.New("the exchange ended before its response")
	errPodLost = errors.New("the session's pod is lost")
	errNoPods  = errors.New("no pod can take the session")
)

func (x *exchange) failure() error {
	switch {
	case x.late:
		return errLate
	case x.refused():
		if err := refusals503[x.decision.outcome].err; err != nil {
			return err
		}
		return x.decision.err
	case x.aborted():
		return errAborted
	}
	return nil
}
