package extproc

import (
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

// retryOf is what an answer allows Envoy to try again, and at which pod.
func retryOf(r *extprocv3.ProcessingResponse) (on, most, pod string) {
	for _, h := range r.GetRequestHeaders().GetResponse().GetHeaderMutation().GetSetHeaders() {
		switch h.GetHeader().GetKey() {
		case wire.RetryOnHeader:
			on = string(h.GetHeader().GetRawValue())
		case wire.MaxRetriesHeader:
			most = string(h.GetHeader().GetRawValue())
		}
	}
	return on, most, r.GetDynamicMetadata().GetFields()[wire.LBNamespace].GetStructValue().GetFields()[wire.BoundPodKey].GetStringValue()
}

// What may be sent twice may be tried once more, at the pod of its session alone.
func TestIdempotentRequestsMayBeTriedOnceMoreAtTheirPod(t *testing.T) {
	p := startProcessor(t, stateOf(chat(), pods(1)))
	for method, again := range map[string]bool{
		"GET": true, "HEAD": true, "OPTIONS": true, "TRACE": true, "PUT": true, "DELETE": true,
		"POST": false, "PATCH": false, "CONNECT": false, "get": false, "": false,
	} {
		r := p.open("chat").exchange(requestMessage(":method", method, ":path", "/", "x-session-id", "alice"))
		on, most, pod := retryOf(r)
		if again && (on != wire.RetrySamePodOn || most != "" || pod != "chat-0") || !again && (on != "" || most != "" || pod != "") {
			t.Errorf("%s: tried again on %q, %q times, at %q", method, on, most, pod)
		}
	}
	_, r := p.request()
	if on, most, pod := retryOf(r); on != wire.RetryOn || most != "2" || pod != "" {
		t.Errorf("unbound: tried again on %q, %q times, at %q", on, most, pod)
	}
}

// Nobody could tell whose a session is that its client does not name yet.
func TestARequestThatIsGivenASessionIsNotTriedAgain(t *testing.T) {
	p := startProcessor(t, stateOf(chat(issuing), pods(1)))
	_, r := p.request()
	if on, _, pod := retryOf(r); on != "" || pod != "" {
		t.Errorf("tried again on %q at %q", on, pod)
	}
}

// A retry is confirmed only while its session is on the pod at which Envoy means to try
// it, and soon.
func TestRetriesAreConfirmedWhileNothingHasChanged(t *testing.T) {
	p := startProcessor(t, stateOf(chat(issuing), pods(2)))
	_, r := p.request("x-session-id", "alice")
	_, _, owner := retryOf(r)
	address, other := destination(t, r), map[string]string{"chat-0": "chat-1", "chat-1": "chat-0"}[owner]
	ask := func(pod, address string, age time.Duration, pairs ...string) string {
		t.Helper()
		m := requestMessage(pairs...)
		if pod != "" {
			m.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{wire.LBNamespace: wire.BoundPod(pod)}}
		}
		m.Attributes = map[string]*structpb.Struct{"envoy.filters.http.ext_proc": {Fields: map[string]*structpb.Value{
			wire.RequestTimeAttribute:     structpb.NewStringValue(time.Now().Add(-age).Format("2006-01-02T15:04:05.999999-07:00")),
			wire.UpstreamAddressAttribute: structpb.NewStringValue(address),
		}}}
		ctx := metadata.AppendToOutgoingContext(t.Context(), wire.ServiceMetadata, "chat", wire.ConfirmMetadata, "1")
		stream, err := p.client.Process(ctx)
		if err != nil {
			t.Fatal(err)
		}
		r := (&callout{t: t, stream: stream}).exchange(m)
		if refused := r.GetImmediateResponse(); refused != nil {
			return refused.GetHeaders().GetSetHeaders()[0].GetHeader().GetKey() + ": " + string(refused.GetHeaders().GetSetHeaders()[0].GetHeader().GetRawValue())
		}
		if r.GetRequestHeaders() == nil || r.GetRequestHeaders().GetResponse().GetHeaderMutation() != nil {
			t.Errorf("the request is changed: %v", r)
		}
		return ""
	}
	refused := func(reason string) string { return wire.ReasonHeader + ": " + reason }
	for _, c := range []struct {
		name, pod, address string
		age                time.Duration
		session, want      string
	}{
		{"as it was", owner, address, 0, "alice", ""},
		{"after half a second", owner, address, lateRetry * 2 / 3, "alice", ""},
		{"not bound", "", "127.0.0.1:1", time.Hour, "", ""},
		{"another pod", other, address, 0, "alice", refused(wire.ReasonMoved)},
		{"another address", owner, "127.0.0.1:1", 0, "alice", refused(wire.ReasonMoved)},
		{"an unknown session", owner, address, 0, "bob", refused(wire.ReasonMoved)},
		{"no session", owner, address, 0, "", refused(wire.ReasonMoved)},
		{"late", owner, address, 2 * lateRetry, "alice", refused(wire.ReasonLateRetry)},
		{"from the future", owner, address, -2 * lateRetry, "alice", refused(wire.ReasonLateRetry)},
	} {
		if got := ask(c.pod, c.address, c.age, "x-session-id", c.session); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if _, bound := p.table.Lookup("chat", "bob", time.Now()); bound {
		t.Error("a question has bound a session")
	}
	p.directory.Set([]wire.ServiceState{stateOf(chat(issuing), withState(pods(2), owner, statefulroute.Draining))}, true)
	if got := ask(owner, address, 0, "x-session-id", "alice"); got != "" {
		t.Errorf("while its pod drains: %q", got)
	}
	p.directory.Set([]wire.ServiceState{stateOf(chat(issuing), withState(pods(2), owner, statefulroute.Unhealthy))}, true)
	if got := ask(owner, address, 0, "x-session-id", "alice"); got != refused(wire.ReasonPodLost) {
		t.Errorf("its pod is unhealthy: %q", got)
	}
}
