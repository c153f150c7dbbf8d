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

// newest keeps what it has and refuses what is new: a strategy of one's own.
type newest struct {
	entries  map[uint64]*affinity.Entry
	capacity int
}

type newestStrategy struct{}

func (newestStrategy) NewPolicy(capacity int) affinity.Policy {
	return &newest{entries: map[uint64]*affinity.Entry{}, capacity: capacity}
}

func (n *newest) Get(id uint64) *affinity.Entry  { return n.entries[id] }
func (n *newest) Peek(id uint64) *affinity.Entry { return n.entries[id] }
func (n *newest) Remove(e *affinity.Entry)       { delete(n.entries, e.ID()) }
func (n *newest) Len() int                       { return len(n.entries) }

func (n *newest) Add(e *affinity.Entry) (*affinity.Entry, affinity.Reason, error) {
	if len(n.entries) == n.capacity {
		return nil, 0, affinity.ErrFull
	}
	n.entries[e.ID()] = e
	return nil, 0, nil
}

func ExampleRegistry() {
	strategies := affinity.NewRegistry()
	err := strategies.Register("newest", func() affinity.Strategy { return newestStrategy{} })
	if err != nil {
		fmt.Println(err)
		return
	}
	table, err := affinity.New(affinity.Options{Registry: strategies, Strategy: "newest", Capacity: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Unix(1_800_000_000, 0)
	_, _, _ = table.Claim("chat", "user-1", "chat-0", now)
	_, _, err = table.Claim("chat", "user-2", "chat-0", now)
	fmt.Println(err)
	// Output: affinity: the table is full
}
