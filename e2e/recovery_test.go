package e2e

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// Three services share three pods and get 20, 70 and 200 requests a second. One pod
// becomes fifty times slower for a while: in the balance of each service it is asked
// about once a second meanwhile, and it has its share again once it is well. How soon
// is logged; that it is within 10 s is asserted where no other program takes time
// away, in the simulation of package balancing (the test of the same name).
func TestASlowPodIsBackSoon(t *testing.T) {
	t.Parallel()
	rates := map[string]int{"few": 20, "some": 70, "many": 200}
	s := startShared(t, rates)
	for _, pod := range []string{"chat-0", "chat-1", "chat-2"} {
		s.Misbehave(t, pod, `{"delay":"20ms"}`)
	}
	loads := map[string]*paced{}
	for name, rate := range rates {
		loads[name] = startPaced(s, "/"+name, rate)
		t.Cleanup(loads[name].stop)
	}
	for name := range rates {
		harness.Eventually(t, harness.Patience, "load reports arrive", reported(s, name))
	}
	s.Misbehave(t, "chat-2", `{"delay":"1s"}`)
	for name, rate := range rates {
		harness.Eventually(t, harness.Patience, "the slow pod's weight falls", weightBelow(s, name, 5/float64(rate)))
	}
	for _, load := range loads {
		load.reset()
	}
	for name, rate := range rates {
		loads[name].wait(t, 5*rate)
	}
	for name, rate := range rates {
		served, slow := loads[name].served.Load(), loads[name].slow.Load()
		t.Logf("%s: the slow pod got %d of %d requests", name, slow, served)
		// Once a second at this rate, with room for chance and a machine that is slow.
		if most := 3/float64(rate) + .02; float64(slow) > most*float64(served) {
			t.Errorf("%s: that is more than %.1f %%", name, 100*most)
		}
	}
	s.Misbehave(t, "chat-2", `{"delay":"20ms"}`)
	for name := range rates {
		took := harness.Eventually(t, harness.Patience, "the weight is back", weightAbove(s, name, .7))
		t.Logf("%s: back %.1f s after it was asked", name, took.Seconds())
	}
}

// startShared starts a stack of services of these names that share three pods.
func startShared(t *testing.T, names map[string]int) *harness.Stack {
	t.Helper()
	s := start(t, harness.Options{Services: []harness.Service{harness.Chat(3)}})
	s.Change(t, func(c *harness.Config) {
		chat := c.Services[0]
		c.Services = nil
		for name := range names {
			svc := chat
			svc.Name, svc.Match = name, map[string]any{"prefix": "/" + name}
			svc.Balancing = map[string]any{"strategy": "least_response_time"}
			c.Services = append(c.Services, svc)
		}
	})
	return s
}

// paced is an open load of requests without a session key.
type paced struct {
	quit   chan struct{}
	wg     sync.WaitGroup
	once   sync.Once
	served atomic.Int64
	slow   atomic.Int64 // of those served, by chat-2
}

// startPaced sends so many requests a second, whether or not earlier ones have been
// answered.
func startPaced(s *harness.Stack, path string, rate int) *paced {
	p := &paced{quit: make(chan struct{})}
	p.wg.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for {
			select {
			case <-p.quit:
				return
			case <-tick.C:
				p.wg.Go(func() { p.request(s, path) })
			}
		}
	})
	return p
}

func (p *paced) request(s *harness.Stack, path string) {
	a, err := s.OK(harness.Path(path))
	if err != nil {
		return
	}
	p.served.Add(1)
	if a.Pod == "chat-2" {
		p.slow.Add(1)
	}
}

func (p *paced) reset() {
	p.served.Store(0)
	p.slow.Store(0)
}

// wait returns when n requests were served since the reset.
func (p *paced) wait(t *testing.T, n int) {
	t.Helper()
	harness.Eventually(t, harness.Patience, "requests are served", func() error {
		if got := p.served.Load(); got < int64(n) {
			return fmt.Errorf("%d of %d", got, n)
		}
		return nil
	})
}

func (p *paced) stop() {
	p.once.Do(func() { close(p.quit) })
	p.wg.Wait()
}
