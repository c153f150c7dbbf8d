package affinity_test

import (
	"fmt"
	"time"

	"github.com/stateful-route/stateful-route/affinity"
)

func Example() {
	now := time.Unix(1_800_000_000, 0)
	table, err := affinity.New(affinity.Options{Capacity: 100_000})
	if err != nil {
		fmt.Println(err)
		return
	}
	b, won, _ := table.Claim("chat", "user-1", "chat-0", now)
	fmt.Println(b.Pod, won)
	b, won, _ = table.Claim("chat", "user-1", "chat-1", now)
	fmt.Println(b.Pod, won)
	b, won, _ = table.Rebind("chat", "user-1", "chat-0", "chat-2", now)
	fmt.Println(b.Pod, b.PreviousPod, won)
	// Output:
	// chat-0 true
	// chat-0 false
	// chat-2 chat-0 true
}

// oldestFirst drops bindings in the order in which they were made, used or not: a
// strategy of one's own.
type oldestFirst struct{ made *affinity.List }

type oldestFirstStrategy struct{}

func (oldestFirstStrategy) NewPolicy(room affinity.Room) affinity.Policy {
	return oldestFirst{room.NewList()}
}

func (o oldestFirst) Add(e *affinity.Entry)    { o.made.PushFront(e) }
func (o oldestFirst) Used(*affinity.Entry)     {}
func (o oldestFirst) Remove(e *affinity.Entry) { o.made.Remove(e) }

func (o oldestFirst) Victim(time.Time) (*affinity.Entry, affinity.Reason, error) {
	return o.made.Back(), affinity.ReasonCapacity, nil
}

func ExampleRegistry() {
	strategies := affinity.NewRegistry()
	err := strategies.Register("oldest_first", func() affinity.Strategy { return oldestFirstStrategy{} })
	if err != nil {
		fmt.Println(err)
		return
	}
	table, err := affinity.New(affinity.Options{Registry: strategies, Strategy: "oldest_first", Capacity: 2, Shards: 1})
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
