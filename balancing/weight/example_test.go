package weight_test

import (
	"fmt"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing/weight"
)

// Two pods report each second; chat-1 takes ten times as long.
func Example() {
	c := weight.New(weight.Options{})
	now := time.Unix(1000, 0)
	c.SetPods(now, []statefulroute.Pod{{Name: "chat-0", Weight: 1}, {Name: "chat-1", Weight: 1}, {Name: "chat-2", Weight: 1}})
	weights, push := c.Next(now)
	fmt.Println(weights["chat-0"], weights["chat-1"], push)
	for range 20 {
		now = now.Add(time.Second)
		for pod, took := range map[string]time.Duration{"chat-0": 20 * time.Millisecond, "chat-1": 200 * time.Millisecond, "chat-2": 20 * time.Millisecond} {
			c.Observe(now, pod, weight.Observation{Issued: 50, Succeeded: 50, ResponseTime: took})
		}
		weights, _ = c.Next(now)
	}
	fmt.Println(weights["chat-1"] < weights["chat-0"]/100)
	// Output:
	// 10000 10000 true
	// true
}
