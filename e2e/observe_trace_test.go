package e2e

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// The service names of the two processes that a request passes, and the name of
// Envoy's span of its call of extproc.
const (
	envoyTraces   = "stateful-route-envoy"
	extprocTraces = "stateful-route-extproc"
	xdsTraces     = "stateful-route-xds-server"
	calloutSpan   = "async envoy.service.ext_proc.v3.ExternalProcessor.Process egress"
)

var tracesBegun atomic.Uint64

// tracedRequest is one request and the trace context that its client sent.
type tracedRequest struct {
	key, agent      string
	traceID, spanID string // empty: the client sent none
	sampled         bool
}

// tracedRequests returns n requests. The key is in the query: Envoy's span must
// not show it either.
func tracedRequests(n int, withContext, sampled bool) []tracedRequest {
	out := make([]tracedRequest, n)
	for i, key := range harness.Keys(n) {
		out[i] = tracedRequest{key: key, agent: "agent-of-" + key, sampled: sampled}
		if withContext {
			out[i].traceID = fmt.Sprintf("%032x", tracesBegun.Add(1))
			out[i].spanID = fmt.Sprintf("%016x", 0xabc0+i)
		}
	}
	return out
}

func (r tracedRequest) edits() []harness.Edit {
	edits := []harness.Edit{harness.InQuery(r.key), harness.RawHeader("User-Agent", r.agent)}
	if r.traceID != "" {
		flags := map[bool]string{true: "01", false: "00"}[r.sampled]
		edits = append(edits, harness.RawHeader("Traceparent", "00-"+r.traceID+"-"+r.spanID+"-"+flags))
	}
	return edits
}

// send sends the requests one after the other, and so over one connection, on
// which Envoy exports their spans in order.
func send(t *testing.T, s *harness.Stack, requests ...[]tracedRequest) {
	t.Helper()
	for _, list := range requests {
		for _, r := range list {
			if _, err := s.OK(r.edits()...); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// only returns the one span of a name in a list.
func only(spans []harness.Span, service, name string) (harness.Span, error) {
	var found []harness.Span
	for _, s := range spans {
		if s.Service == service && s.Name == name {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		return harness.Span{}, fmt.Errorf("%d spans %q of %s among %v", len(found), name, service, spans)
	}
	return found[0], nil
}

// wholeTrace checks that one trace has the request's spans of both processes,
// each below the one that caused it.
func wholeTrace(c *harness.Collector, r tracedRequest) error {
	entry, err := only(c.Spans(func(s harness.Span) bool { return s.Attributes["user_agent"] == r.agent }), envoyTraces, "ingress")
	if err != nil {
		return err
	}
	if r.traceID != "" && entry.TraceID != r.traceID {
		return fmt.Errorf("trace %s, the client began %s", entry.TraceID, r.traceID)
	}
	spans, parent := c.Trace(entry.TraceID), r.spanID
	for _, step := range []struct{ service, name string }{
		{envoyTraces, "ingress"}, {envoyTraces, calloutSpan}, {extprocTraces, "request"}, {extprocTraces, "cache.get"},
	} {
		span, err := only(spans, step.service, step.name)
		if err != nil {
			return err
		}
		if span.ParentID != parent {
			return fmt.Errorf("the parent of %q is %q, want %q", step.name, span.ParentID, parent)
		}
		parent = span.SpanID
	}
	return nil
}

func TestARequestIsOneTraceOfEnvoyAndExtproc(t *testing.T) {
	t.Parallel()
	collector := harness.StartCollector(t)
	s := start(t, harness.Options{Env: collector.Environment(), Tracing: &harness.Tracing{OTLP: collector.Address}})
	unsampled := tracedRequests(5, true, false)
	own, continued := tracedRequests(10, false, true), tracedRequests(10, true, true)
	send(t, s, unsampled, own, continued)
	for _, r := range append(own, continued...) {
		harness.Eventually(t, harness.Patience, "a request's trace is whole", func() error { return wholeTrace(collector, r) })
	}
	for _, r := range unsampled {
		if spans := collector.Trace(r.traceID); len(spans) > 0 {
			t.Errorf("the client did not sample trace %s, and there are %v", r.traceID, spans)
		}
	}
	for _, span := range collector.Spans(func(harness.Span) bool { return true }) {
		for _, r := range own {
			for name, v := range span.Attributes {
				if name != "user_agent" && strings.Contains(v, r.key) {
					t.Fatalf("a span of %s shows a session key: %s is %q", span.Service, name, v)
				}
			}
		}
	}
}

// Tracing is changed while everything runs: from off, where extproc's span is the
// child of the client's, to the traces that clients sampled and no others.
func TestTracingIsChangedAtRunTime(t *testing.T) {
	t.Parallel()
	collector := harness.StartCollector(t)
	s := start(t, harness.Options{Env: collector.Environment()})
	withoutEnvoy(t, s, collector)

	nothing := 0
	s.Change(t, func(c *harness.Config) {
		c.Envoy.Tracing = &harness.Tracing{OTLP: collector.Address, Sample: &nothing}
	})
	listenerSays(t, s, "envoy.tracers.opentelemetry", true)
	s.Reconnect()
	silent, sampled := tracedRequests(3, false, false), tracedRequests(3, true, true)
	send(t, s, silent, sampled)
	for _, r := range sampled {
		harness.Eventually(t, harness.Patience, "a sampled request's trace is whole", func() error { return wholeTrace(collector, r) })
	}
	for _, r := range silent {
		if spans := collector.Spans(func(sp harness.Span) bool { return sp.Attributes["user_agent"] == r.agent }); len(spans) > 0 {
			t.Errorf("a request that nobody sampled is traced: %v", spans)
		}
	}

	s.Change(t, func(c *harness.Config) { c.Envoy.Tracing = nil })
	listenerSays(t, s, "envoy.tracers.opentelemetry", false)
	s.WaitClients(t)
	s.Reconnect()
	withoutEnvoy(t, s, collector)
}

// withoutEnvoy sends sampled requests and checks that their traces have no span of
// Envoy. Nothing that arrives later is missed: the parent of extproc's span would be
// Envoy's if there were one.
func withoutEnvoy(t *testing.T, s *harness.Stack, collector *harness.Collector) {
	t.Helper()
	requests := tracedRequests(3, true, true)
	send(t, s, requests)
	for _, r := range requests {
		harness.Eventually(t, harness.Patience, "extproc's span arrives", func() error {
			span, err := only(collector.Trace(r.traceID), extprocTraces, "request")
			if err == nil && span.ParentID != r.spanID {
				err = fmt.Errorf("its parent is %q, want the client's span %q", span.ParentID, r.spanID)
			}
			return err
		})
		for _, span := range collector.Trace(r.traceID) {
			if span.Service == envoyTraces {
				t.Errorf("Envoy's tracing is off, and there is %v", span)
			}
		}
	}
}

// Every health check is a span of xds-server's that says how it went.
func TestHealthChecksAreTraced(t *testing.T) {
	t.Parallel()
	collector := harness.StartCollector(t)
	svc := harness.Chat(2)
	svc.HealthCheck = map[string]any{"http": "/healthz", "interval": "500ms", "timeout": "400ms"}
	s := start(t, harness.Options{Services: []harness.Service{svc}, Env: collector.Environment()})
	s.Misbehave(t, "chat-1", `{"healthz":"fail"}`)
	for pod, success := range map[string]string{"chat-0": "true", "chat-1": "false"} {
		harness.Eventually(t, harness.Patience, "a check of "+pod+" with success "+success, func() error {
			spans := collector.Spans(func(sp harness.Span) bool {
				return sp.Service == xdsTraces && sp.Name == "healthcheck.check" && sp.Attributes["healthcheck.service"] == "chat" &&
					sp.Attributes["healthcheck.pod_id"] == pod && strings.Contains(sp.Attributes["healthcheck.success"], success)
			})
			if len(spans) == 0 {
				return errNotYet
			}
			if spans[0].ParentID != "" {
				return fmt.Errorf("it has a parent: %v", spans[0])
			}
			return nil
		})
	}
}

// listenerSays waits until Envoy's listener has, or no longer has, a text.
func listenerSays(t *testing.T, s *harness.Stack, text string, want bool) {
	t.Helper()
	harness.Eventually(t, harness.Patience, "Envoy has the new listener", func() error {
		dump, err := harness.Body(s.EnvoyAdmin + "/config_dump?resource=dynamic_listeners")
		if err == nil && strings.Contains(dump, text) != want {
			err = fmt.Errorf("%q in its listener is not %v", text, want)
		}
		return err
	})
}
