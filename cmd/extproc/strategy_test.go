package main

import (
	"testing"

	"github.com/stateful-route/stateful-route/balancing"
)

// lastPod is a strategy that a user wrote.
type lastPod struct{}

func (lastPod) Pick(_ string, pods balancing.View) int { return pods.Len() - 1 }

// A strategy that is registered in main places sessions.
func TestAStrategyOfOnesOwn(t *testing.T) {
	strategies := balancing.NewRegistry()
	if err := strategies.Register("last", func(balancing.Options) (balancing.Strategy, error) { return lastPod{}, nil }, balancing.Traits{}); err != nil {
		t.Fatal(err)
	}
	a, _, stop := startApp(t, func(o *Options) { o.Extensions.Balancing = strategies })
	defer stop()
	svc := service()[0].Service
	svc.Balancing.Strategy = "last"
	if err := a.directory.Check(svc); err != nil {
		t.Error(err)
	}
	svc.Balancing.Strategy = "first"
	if err := a.directory.Check(svc); err == nil {
		t.Error("an unknown strategy was accepted")
	}
}
