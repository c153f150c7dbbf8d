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
	b, won, _ = table.Rebind(b, "chat-2", now)
	fmt.Println(b.Pod, b.PreviousPod, won)
	// Output:
	// chat-0 true
	// chat-0 false
	// chat-2 chat-0 true
}
