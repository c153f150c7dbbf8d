package balancing_test

import (
	"errors"
	"fmt"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing"
)

func ExampleBalancer() {
	b, err := balancing.New(balancing.Options{Strategy: "least_connections", MaxConnections: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	now := time.Now()
	b.SetPods(now, []statefulroute.Pod{
		{Name: "chat-0", Weight: 1},
		{Name: "chat-1", Weight: 1, State: statefulroute.Draining},
	})
	result, err := b.Pick(now, "session-1")
	fmt.Println(result.Pod(), err)

	_, err = b.Pick(now, "session-2")
	fmt.Println(errors.Is(err, balancing.ErrNoPods), err)

	result.Done(now, balancing.Outcome{Kind: balancing.Success, ResponseTime: 20 * time.Millisecond})
	fmt.Println(b.Stats().AverageResponseTime)
	// Output:
	// chat-0 <nil>
	// true no healthy pods available: chat-0: max_connections reached, chat-1: draining
	// 20ms
}

// fewestSessions is a strategy of our own: the pod with the fewest sessions, then
// the first by name.
type fewestSessions struct{}

func (fewestSessions) Pick(_ string, pods balancing.View) int {
	best := -1
	for i := range pods.Len() {
		if pods.Eligible(i) && (best < 0 || pods.Sessions(i) < pods.Sessions(best)) {
			best = i
		}
	}
	return best
}

// A user's own strategy joins by name, beside the built-in ones.
func ExampleRegistry_Register() {
	registry := balancing.NewRegistry()
	err := registry.Register("fewest_sessions", func(balancing.Options) (balancing.Strategy, error) {
		return fewestSessions{}, nil
	}, balancing.Traits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := balancing.New(balancing.Options{Strategy: "fewest_sessions", Registry: registry})
	if err != nil {
		fmt.Println(err)
		return
	}
	b.SetPods(time.Now(), []statefulroute.Pod{{Name: "a"}, {Name: "b"}, {Name: "c"}})
	b.SetSessions("a", 2)
	b.SetSessions("c", 1)
	result, err := b.Pick(time.Now(), "")
	fmt.Println(result.Pod(), err)
	fmt.Println(registry.Register("round_robin", func(balancing.Options) (balancing.Strategy, error) { return nil, nil }, balancing.Traits{}))
	// Output:
	// b <nil>
	// strategy "round_robin" is already registered
}
