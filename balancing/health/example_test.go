package health_test

import (
	"fmt"
	"time"

	"github.com/stateful-route/stateful-route/balancing/health"
)

// The caller runs the probes that are due and tells their results. chat-1 fails them.
func ExampleChecker() {
	c, err := health.New(health.Options{Interval: time.Second, UnhealthyAfter: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Unix(1000, 0)
	c.SetPods(now, []health.Pod{{Name: "chat-0", InService: true}, {Name: "chat-1", InService: true}})
	for range 5 {
		now = now.Add(time.Second)
		for _, pod := range c.Due(now) {
			found := health.Passed
			if pod == "chat-1" {
				found = health.Failed
			}
			for _, changed := range c.Result(now, pod, found) {
				fmt.Println(changed.Pod, "healthy:", changed.Healthy, changed.Reason)
			}
		}
	}
	// Output: chat-1 healthy: false failed its health checks
}

// chat-0 is sent requests and answers none.
func ExamplePassiveCheck() {
	c := health.NewPassiveCheck(10 * time.Second)
	now := time.Unix(1000, 0)
	for i := range 12 {
		if c.Observe(now.Add(time.Duration(i)*time.Second), "chat-0", 5, 0) {
			fmt.Println("suspect after", i, "seconds: have it probed")
		}
	}
	// Output: suspect after 10 seconds: have it probed
}
