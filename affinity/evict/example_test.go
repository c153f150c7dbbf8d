package evict_test

import (
	"fmt"
	"time"

	"github.com/stateful-route/stateful-route/affinity"
	"github.com/stateful-route/stateful-route/affinity/evict"
)

// fifo drops bindings in the order in which they were made, used or not: a strategy of
// one's own.
type fifo struct{}

func (fifo) NewPolicy(room evict.Room) evict.Policy { return fifoPolicy{room.NewList()} }

type fifoPolicy struct{ made *evict.List }

func (p fifoPolicy) Add(e *evict.Entry)    { p.made.PushFront(e) }
func (p fifoPolicy) Used(*evict.Entry)     {}
func (p fifoPolicy) Remove(e *evict.Entry) { p.made.Remove(e) }

func (p fifoPolicy) Victim(int64) (*evict.Entry, evict.Reason, error) {
	return p.made.Back(), evict.ReasonCapacity, nil
}

func ExampleRegistry() {
	strategies := evict.NewRegistry()
	if err := strategies.Register("fifo", func() evict.Strategy { return fifo{} }); err != nil {
		fmt.Println(err)
		return
	}
	table, err := affinity.New(affinity.Options{Registry: strategies, Strategy: "fifo", Capacity: 2, Shards: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Unix(1_800_000_000, 0)
	for _, user := range []string{"user-1", "user-1", "user-2", "user-3"} {
		_, _, _ = table.Claim("chat", user, "chat-0", now)
	}
	_, found := table.Peek("chat", "user-1", now)
	pod, remembered := table.Remembered("chat", "user-1", now)
	fmt.Println(found, pod, remembered)
	// Output: false chat-0 true
}
