package main

import (
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/affinity/evict"
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

// fifo is a strategy that a user wrote, for the session table.
type fifo struct{}

func (fifo) NewPolicy(room evict.Room) evict.Policy { return fifoPolicy{room.NewList()} }

type fifoPolicy struct{ made *evict.List }

func (p fifoPolicy) Add(e *evict.Entry)    { p.made.PushFront(e) }
func (p fifoPolicy) Used(*evict.Entry)     {}
func (p fifoPolicy) Remove(e *evict.Entry) { p.made.Remove(e) }

func (p fifoPolicy) Victim(int64) (*evict.Entry, evict.Reason, error) {
	return p.made.Back(), evict.ReasonCapacity, nil
}

// A strategy that is registered chooses what a full session table drops.
func TestAnEvictionStrategyOfOnesOwn(t *testing.T) {
	strategies := evict.NewRegistry()
	if err := strategies.Register("fifo", func() evict.Strategy { return fifo{} }); err != nil {
		t.Fatal(err)
	}
	a, _, stop := startApp(t, func(o *Options) {
		o.Extensions.Eviction, o.Config.Affinity.Strategy, o.Config.Affinity.Capacity = strategies, "fifo", 2
	})
	defer stop()
	now := time.Now()
	for _, key := range []string{"first", "second", "first", "third"} {
		if _, _, err := a.table.Claim("chat", key, "chat-0", now); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := a.table.Peek("chat", "first", now); ok || a.table.Stats().Strategy != "fifo" {
		t.Errorf("fifo keeps what was made first: %+v", a.table.Stats())
	}
}
