package extproc

import (
	"testing"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/wire"
)

// podLoad is what the service's balancer knows of a pod.
func (p *processor) podLoad(pod string) statefulroute.Load {
	p.t.Helper()
	l, ok := p.directory.service("chat").balancer.Loads()[pod]
	if !ok {
		p.t.Fatalf("no load of %s", pod)
	}
	return l
}

// A stream's response headers teach the balancer; its end, which may be hours
// away, only ends the request in flight.
func TestAStreamTeachesTheBalancerWhenItBegins(t *testing.T) {
	p := startProcessor(t, wire.ServiceState{Service: chat(), Pods: pods(1)})
	c, _ := p.request("x-session-id", "s")
	if l := p.podLoad("chat-0"); l.InFlight != 1 || !l.LastResponse.IsZero() {
		t.Errorf("before the response: %+v", l)
	}
	c.response("127.0.0.1:9100", ":status", "200", "content-type", "text/event-stream")
	l := p.podLoad("chat-0")
	if l.InFlight != 1 || l.ResponseTime <= 0 || l.LastResponse.IsZero() {
		t.Errorf("while the stream is open: %+v", l)
	}
	c.finish()
	if after := p.podLoad("chat-0"); after.InFlight != 0 || after.ResponseTime != l.ResponseTime {
		t.Errorf("after the stream: %+v, want nothing in flight and the response time as it was, %v", after, l.ResponseTime)
	}
}

// Envoy tells of a timeout, and of a request that it retried on another pod, with
// the one response the client gets; both end what is in flight.
func TestInFlightEndsWithATimeoutAndWithARetry(t *testing.T) {
	for _, c := range []struct{ name, upstream, status string }{
		{"timed out", "", "504"},
		{"timed out on the pod", "127.0.0.1:9100", "504"},
		{"retried", "127.0.0.1:9101", "200"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startProcessor(t, wire.ServiceState{Service: chat(), Pods: pods(2)})
			call, answer := p.request("x-session-id", "s")
			bound := "chat-0"
			if destination(t, answer) == "127.0.0.1:9101" {
				bound = "chat-1"
			}
			if got := p.podLoad(bound).InFlight; got != 1 {
				t.Fatalf("%d in flight", got)
			}
			call.response(c.upstream, ":status", c.status)
			call.finish()
			for _, pod := range []string{"chat-0", "chat-1"} {
				if got := p.podLoad(pod).InFlight; got != 0 {
					t.Errorf("%d in flight on %s", got, pod)
				}
			}
			if rate := p.podLoad(bound).ErrorRate; (rate > 0) != (c.status == "504") {
				t.Errorf("error rate of the bound pod %v", rate)
			}
		})
	}
}
