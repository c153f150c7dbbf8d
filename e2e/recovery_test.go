package e2e

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// Three services share three pods and get 20, 70 and 500 requests a second. One pod
// becomes ten times slower for a while: in the balance of each service it is asked
// about once a second meanwhile, and soon after it is well again it has its share. How
// soon is logged; that it is within 10 s is asserted where no other program takes time
// away, in the simulation of package balancing (the test of the same name).
func TestASlowPodIsBackSoon(t *testing.T) {
	s := start(t, harness.Options{Services: []harness.Service{harness.Chat(3)}})
	rates := map[string]int{"few": 20, "some": 70, "many": 500}
	s.Change(t, func(c *harness.Config) {
		chat := c.Services[0]
		c.Services = nil
		for name := range rates {
			svc := chat
			svc.Name, svc.Match = name, map[string]any{"prefix": "/" + name}
			svc.Balancing = map[string]any{"strategy": "least_response_time"}
			c.Services = append(c.Services, svc)
		}
	})
	slow := func(delay string) { s.Misbehave(t, "chat-2", `{"delay":"`+delay+`"}`) }
	for _, pod := range []string{"chat-0", "chat-1", "chat-2"} {
		s.Misbehave(t, pod, `{"delay":"20ms"}`)
	}
	loads := map[string]*paced{}
	for name, rate := range rates {
		loads[name] = startPaced(s, "/"+name, rate)
		t.Cleanup(loads[name].stop)
	}
	for name := range rates {
		harness.Eventually(t, harness.Patience, "load reports arrive", func() error {
			rows, err := s.PodRows(name)
			if err == nil && rows["chat-2"].ResponseTime == 0 {
				err = errNotYet
			}
			return err
		})
	}
	slow("200ms")
	for name := range rates {
		harness.Eventually(t, 30*time.Second, "the slow pod's weight falls", func() error {
			share, err := weightShare(s, name)
			if err == nil && share > .15 {
				err = fmt.Errorf("%.3f of the others'", share)
			}
			return err
		})
	}
	time.Sleep(8 * time.Second) // until it has fallen as far as it will
	for _, load := range loads {
		load.slow.Store(0)
	}
	const watched = 10 * time.Second
	time.Sleep(watched)
	for name, load := range loads {
		if got := float64(load.slow.Load()) / watched.Seconds(); got > 3 {
			t.Errorf("%s: the slow pod got %.1f requests a second", name, got)
		} else {
			t.Logf("%s: the slow pod got %.1f of %d requests a second", name, got, rates[name])
		}
	}
	slow("20ms")
	recovered := time.Now()
	for name := range rates {
		harness.Eventually(t, harness.Patience, "the weight is back", func() error {
			share, err := weightShare(s, name)
			if err == nil && share < .7 {
				err = fmt.Errorf("%.3f of the others'", share)
			}
			return err
		})
		t.Logf("%s: back %.1f s after the recovery", name, time.Since(recovered).Seconds())
	}
}

// weightShare is chat-2's weight relative to the others'.
func weightShare(s *harness.Stack, service string) (float64, error) {
	rows, err := s.PodRows(service)
	if err != nil {
		return 0, err
	}
	return rows["chat-2"].Weight / min(rows["chat-0"].Weight, rows["chat-1"].Weight), nil
}

// paced is an open load of requests without a session key.
type paced struct {
	quit chan struct{}
	wg   sync.WaitGroup
	once sync.Once
	slow atomic.Int64 // requests that chat-2 answered
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
			}
			p.wg.Go(func() {
				if a, err := s.OK(harness.Path(path)); err == nil && a.Pod == "chat-2" {
					p.slow.Add(1)
				}
			})
		}
	})
	return p
}

func (p *paced) stop() {
	p.once.Do(func() { close(p.quit) })
	p.wg.Wait()
}
