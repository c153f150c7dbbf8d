package balancing_test

import (
	"math"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing"
)

func servedBalancer(t *testing.T, strategy string, maxConnections uint32) *balancing.Balancer {
	t.Helper()
	b, err := balancing.New(balancing.Options{Strategy: strategy, MaxConnections: maxConnections, Repeatable: true})
	if err != nil {
		t.Fatal(err)
	}
	b.SetPods(t0, []statefulroute.Pod{{Name: "a", Weight: 1}, {Name: "b", Weight: 1}})
	return b
}

// Requests that the balancer did not start count in flight, and against the cap.
func TestServedCountsInFlight(t *testing.T) {
	b := servedBalancer(t, "round_robin", 4)
	b.Served(t0, "a", balancing.Served{InFlight: 4})
	if n := b.Loads()["a"].InFlight; n != 4 {
		t.Errorf("%d in flight, want 4", n)
	}
	for range 4 {
		if p, err := b.Pick(t0, "k"); err != nil || p.Pod() != "b" {
			t.Fatalf("picked %q, %v; a is full", p.Pod(), err)
		}
	}
	b.Served(t0, "a", balancing.Served{InFlight: 1})
	if p, err := b.Pick(t0, "k"); err != nil || p.Pod() != "a" {
		t.Errorf("picked %q, %v; only a has room", p.Pod(), err)
	}
	if n := b.Loads()["a"].InFlight; n != 2 {
		t.Errorf("%d in flight, want 2", n)
	}
	b.Served(t0, "gone", balancing.Served{InFlight: 9})
}

// Totals, response times and error rates are as if each outcome had been told by itself.
func TestServedTeaches(t *testing.T) {
	one, many := servedBalancer(t, "least_response_time", 0), servedBalancer(t, "least_response_time", 0)
	now := t0.Add(time.Second)
	for i := range 40 {
		o := balancing.Outcome{Kind: balancing.Success, ResponseTime: 20 * time.Millisecond}
		if i%4 == 0 {
			o = balancing.Outcome{Kind: balancing.Failure}
		}
		p, _ := one.Start(now, "a")
		p.Done(now, o)
	}
	many.Served(now, "a", balancing.Served{Succeeded: 30, Failed: 10, Timed: 30, ResponseTimes: 30 * 20 * time.Millisecond})
	if a, b := one.Stats(), many.Stats(); a != b {
		t.Errorf("one by one %+v, at once %+v", a, b)
	}
	a, b := one.Loads()["a"], many.Loads()["a"]
	if a.ResponseTime != b.ResponseTime || math.Abs(a.ErrorRate-b.ErrorRate) > 0.05 || !a.LastResponse.Equal(b.LastResponse) {
		t.Errorf("one by one %+v, at once %+v", a, b)
	}
	many.Served(now.Add(time.Second), "a", balancing.Served{Others: 5})
	if s := many.Stats(); s.TotalRequests != 45 || s.Successful != 30 || many.Loads()["a"].LastResponse != b.LastResponse {
		t.Errorf("%+v after 5 that say nothing", s)
	}
}
