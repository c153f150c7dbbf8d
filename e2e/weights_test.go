package e2e

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// Two services share three pods; one is balanced over weights that follow the
// load, the other over equal ones. One pod becomes ten times slower.
func TestWeightsFollowASlowPod(t *testing.T) {
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
	slow := func(delays ...string) {
		for i, d := range delays {
			s.Misbehave(t, fmt.Sprintf("chat-%d", i), `{"delay":"`+d+`"}`)
		}
	}
	slow("20ms", "20ms", "20ms")
	load := startUnbound(s, map[string]int{"/": 12, "/equal": 12})
	t.Cleanup(load.stop)
	harness.Eventually(t, harness.Patience, "load reports arrive", func() error {
		rows, err := s.PodRows("steered")
		if err == nil && rows["chat-2"].ResponseTime == 0 {
			err = errNotYet
		}
		return err
	})

	slow("20ms", "20ms", "200ms")
	lowered := harness.Eventually(t, 15*time.Second, "the slow pod's weight falls below half of the others'", func() error {
		return belowHalf(s, true)
	})
	watchWeights(t, s, 15*time.Second) // until it has fallen as far as it will
	load.reset()
	settled(t, s)
	gain := load.gain(t)
	if gain < 2 {
		t.Errorf("p99 of unbound requests is %.1f times better over weights that follow the load than over equal ones, want at least 2", gain)
	}

	slow("20ms", "20ms", "20ms")
	returned := harness.Eventually(t, 30*time.Second, "the weight returns after the pod recovered", func() error { return belowHalf(s, false) })
	t.Logf("the weight fell after %v and returned after %v; p99 was %.1f times better than over equal weights",
		lowered.Round(time.Millisecond), returned.Round(time.Millisecond), gain)
}

// belowHalf checks that chat-2's weight is, or is not, below half of the others'.
func belowHalf(s *harness.Stack, want bool) error {
	rows, err := s.PodRows("steered")
	if err != nil {
		return err
	}
	least := min(rows["chat-0"].Weight, rows["chat-1"].Weight)
	if got := rows["chat-2"].Weight < least/2; got != want {
		return fmt.Errorf("weights %v, %v, %v", rows["chat-0"].Weight, rows["chat-1"].Weight, rows["chat-2"].Weight)
	}
	return nil
}

// settled checks that for ten seconds the weights hardly move, and that no more
// than one push a second is made.
func settled(t *testing.T, s *harness.Stack) {
	t.Helper()
	before, err := pushes(s)
	if err != nil {
		t.Fatal(err)
	}
	shares := watchWeights(t, s, 10*time.Second)
	after, err := pushes(s)
	if err != nil {
		t.Fatal(err)
	}
	if n := after - before; n > 11 {
		t.Errorf("%v pushes in 10 s, want at most one a second", n)
	}
	for pod, w := range shares {
		mean := 0.0
		for _, x := range w {
			mean += x / float64(len(w))
		}
		// What a slow pod keeps follows how many requests it brings: less than a
		// hundredth of the sum may do so in a few steps.
		if low, high := slices.Min(w), slices.Max(w); high > .01 && (low < .9*mean || high > 1.1*mean) {
			t.Errorf("the share of %s swings from %.4f to %.4f, more than 10 %% about its mean %.4f", pod, low, high, mean)
		}
	}
}

// gain is how much better the p99 of the last ten seconds is over weights that
// follow the load.
func (u *unbound) gain(t *testing.T) float64 {
	t.Helper()
	p99 := u.p99()
	t.Logf("p99 over weights that follow the load %v, over equal ones %v", p99["/"], p99["/equal"])
	u.reset()
	return float64(p99["/equal"]) / float64(p99["/"])
}

// watchWeights samples each pod's share of the weight once a second.
func watchWeights(t *testing.T, s *harness.Stack, span time.Duration) map[string][]float64 {
	t.Helper()
	shares := map[string][]float64{}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range int(span / time.Second) {
		<-tick.C
		rows, err := s.PodRows("steered")
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for _, r := range rows {
			sum += r.Weight
		}
		for name, r := range rows {
			shares[name] = append(shares[name], r.Weight/sum)
		}
	}
	return shares
}

// pushes counts the endpoint updates that Envoy took for the steered service.
func pushes(s *harness.Stack) (int, error) { return s.EnvoyStat("cluster.steered.update_success") }

// unbound is a closed load of requests without a session key, timed by path.
type unbound struct {
	quit chan struct{}
	wg   sync.WaitGroup
	once sync.Once

	mu    sync.Mutex
	times map[string][]time.Duration
}

func startUnbound(s *harness.Stack, clients map[string]int) *unbound {
	u := &unbound{quit: make(chan struct{}), times: map[string][]time.Duration{}}
	for path, n := range clients {
		for range n {
			u.wg.Go(func() {
				for {
					select {
					case <-u.quit:
						return
					default:
					}
					begin := time.Now()
					if _, err := s.OK(harness.Path(path)); err == nil {
						u.add(path, time.Since(begin))
					}
				}
			})
		}
	}
	return u
}

func (u *unbound) add(path string, d time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.times[path] = append(u.times[path], d)
}

func (u *unbound) reset() {
	u.mu.Lock()
	defer u.mu.Unlock()
	clear(u.times)
}

func (u *unbound) p99() map[string]time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := map[string]time.Duration{}
	for path, times := range u.times {
		sorted := slices.Sorted(slices.Values(times))
		out[path] = sorted[len(sorted)*99/100]
	}
	return out
}

func (u *unbound) stop() {
	u.once.Do(func() { close(u.quit) })
	u.wg.Wait()
}
