package e2e

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// Two services share three pods; one is balanced over weights that follow the
// load, the other over equal ones. One pod becomes much slower: the first
// service hardly uses it any more, and does again when it has recovered. How steady
// the weights are meanwhile is the simulation's to say (TestEDSWeightsSettle).
func TestWeightsFollowASlowPod(t *testing.T) {
	t.Parallel()
	steered := harness.Chat(3)
	steered.Name = "steered"
	steered.Balancing = map[string]any{"strategy": "least_response_time"}
	s := start(t, harness.Options{Services: []harness.Service{steered}})
	s.Change(t, func(c *harness.Config) {
		equal := c.Services[0]
		equal.Name, equal.Match = "equal", map[string]any{"prefix": "/equal"}
		equal.Balancing = map[string]any{"strategy": "round_robin"}
		c.Services = append(c.Services, equal)
	})
	for _, pod := range []string{"chat-0", "chat-1", "chat-2"} {
		s.Misbehave(t, pod, `{"delay":"20ms"}`)
	}
	load := startUnbound(s, map[string]int{"/": 6, "/equal": 6})
	t.Cleanup(load.stop)
	harness.Eventually(t, harness.Patience, "load reports arrive", reported(s, "steered"))

	s.Misbehave(t, "chat-2", `{"delay":"500ms"}`)
	harness.Eventually(t, harness.Patience, "the slow pod has next to no weight", weightBelow(s, "steered", .1))
	load.reset()
	load.wait(t, 200)
	over, equal := load.share("/", "chat-2"), load.share("/equal", "chat-2")
	t.Logf("the slow pod served %.1f %% of the requests over weights that follow the load, %.1f %% over equal ones", 100*over, 100*equal)
	if over > equal/4 {
		t.Error("that is no less than a quarter")
	}

	s.Misbehave(t, "chat-2", `{"delay":"20ms"}`)
	harness.Eventually(t, harness.Patience, "the weight returns after the pod recovered", weightAbove(s, "steered", .5))
}

// reported is a check for Eventually: the response time of a service's pods has
// reached xds-server.
func reported(s *harness.Stack, service string) func() error {
	return func() error {
		rows, err := s.PodRows(service)
		if err == nil && rows["chat-2"].ResponseTime == 0 {
			err = errNotYet
		}
		return err
	}
}

// weightBelow is a check for Eventually: chat-2 has less than a share of the weight
// of each of the others. weightAbove is the opposite.
func weightBelow(s *harness.Stack, service string, most float64) func() error {
	return func() error { return checkWeight(s, service, 0, most) }
}

func weightAbove(s *harness.Stack, service string, least float64) func() error {
	return func() error { return checkWeight(s, service, least, 100) }
}

func checkWeight(s *harness.Stack, service string, least, most float64) error {
	rows, err := s.PodRows(service)
	if err != nil {
		return err
	}
	if share := rows["chat-2"].Weight / min(rows["chat-0"].Weight, rows["chat-1"].Weight); share < least || share > most {
		return fmt.Errorf("%s: it has %.4f of the others' weight", service, share)
	}
	return nil
}

// unbound is a closed load of requests without a session key, counted by path and
// by the pod that served them.
type unbound struct {
	quit chan struct{}
	wg   sync.WaitGroup
	once sync.Once

	mu     sync.Mutex
	served map[string]map[string]int
}

func startUnbound(s *harness.Stack, clients map[string]int) *unbound {
	u := &unbound{quit: make(chan struct{}), served: map[string]map[string]int{}}
	for path, n := range clients {
		u.served[path] = map[string]int{}
		for range n {
			u.wg.Go(func() { u.client(s, path) })
		}
	}
	return u
}

func (u *unbound) client(s *harness.Stack, path string) {
	for {
		select {
		case <-u.quit:
			return
		default:
		}
		if a, err := s.OK(harness.Path(path)); err == nil {
			u.mu.Lock()
			u.served[path][a.Pod]++
			u.mu.Unlock()
		}
	}
}

func (u *unbound) reset() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, pods := range u.served {
		clear(pods)
	}
}

// wait returns when each path has had n requests since the reset.
func (u *unbound) wait(t *testing.T, n int) {
	t.Helper()
	harness.Eventually(t, harness.Patience, "requests are served", func() error {
		u.mu.Lock()
		defer u.mu.Unlock()
		for path, pods := range u.served {
			if got := sum(pods); got < n {
				return fmt.Errorf("%d of %d for %s", got, n, path)
			}
		}
		return nil
	})
}

// share is the part of a path's requests that a pod served.
func (u *unbound) share(path, pod string) float64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return float64(u.served[path][pod]) / float64(sum(u.served[path]))
}

func sum(pods map[string]int) (n int) {
	for _, served := range pods {
		n += served
	}
	return n
}

func (u *unbound) stop() {
	u.once.Do(func() { close(u.quit) })
	u.wg.Wait()
}
