package harness

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Keys returns n session keys that no other call has returned.
func Keys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = "s" + strconv.FormatInt(keyNumber.Add(1), 36) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	}
	return keys
}

var keyNumber atomic.Int64

// Tally is what a load saw, by session.
type Tally struct {
	mu       sync.Mutex
	requests int
	pods     map[string]map[string]int // session → pod → requests
	failures []string
}

func (ta *Tally) add(key string, a Answer, err error) {
	ta.mu.Lock()
	defer ta.mu.Unlock()
	ta.requests++
	switch {
	case err != nil:
		ta.failures = append(ta.failures, err.Error())
	case a.Session != key:
		ta.failures = append(ta.failures, fmt.Sprintf("session %q arrived as %q", key, a.Session))
	default:
		if ta.pods[key] == nil {
			ta.pods[key] = map[string]int{}
		}
		ta.pods[key][a.Pod]++
	}
}

// Requests is how many were sent.
func (ta *Tally) Requests() int { return ta.requests }

// Failures says why requests were not served.
func (ta *Tally) Failures() []string { return ta.failures }

// ByPod counts requests by the pod that served them.
func (ta *Tally) ByPod() map[string]int {
	sum := map[string]int{}
	for _, pods := range ta.pods {
		for pod, n := range pods {
			sum[pod] += n
		}
	}
	return sum
}

// Owners returns each session's pod, and fails the test for a request that was
// not served or a session that was seen on two.
func (ta *Tally) Owners(t testing.TB) map[string]string {
	t.Helper()
	if n := len(ta.failures); n > 0 {
		t.Errorf("%d of %d requests failed; the first: %s", n, ta.requests, ta.failures[0])
	}
	owners, split := map[string]string{}, 0
	for key, pods := range ta.pods {
		for pod := range pods {
			owners[key] = pod
		}
		if len(pods) > 1 {
			split++
			if split == 1 {
				t.Errorf("session %s was seen on %v", key, pods)
			}
		}
	}
	if split > 1 {
		t.Errorf("%d of %d sessions were seen on more than one pod", split, len(ta.pods))
	}
	return owners
}

// Load sends rounds requests for every session, also several of one session at
// once, with so many requests on the way.
func (s *Stack) Load(keys []string, rounds, concurrency int, where func(key string) Edit, more ...Edit) *Tally {
	ta := &Tally{pods: map[string]map[string]int{}}
	Each(len(keys)*rounds, concurrency, func(i int) {
		key := keys[i%len(keys)]
		a, err := s.OK(append([]Edit{where(key)}, more...)...)
		ta.add(key, a, err)
	})
	return ta
}

// AtOnce sends n requests of one session at the same instant.
func (s *Stack) AtOnce(key string, n int) *Tally {
	ta := &Tally{pods: map[string]map[string]int{}}
	var ready, done sync.WaitGroup
	ready.Add(n)
	for range n {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			a, err := s.OK(InHeader(key))
			ta.add(key, a, err)
		})
	}
	done.Wait()
	return ta
}

// LoadUnbound sends n requests without a session.
func (s *Stack) LoadUnbound(n, concurrency int, edits ...Edit) *Tally {
	ta := &Tally{pods: map[string]map[string]int{}}
	Each(n, concurrency, func(int) {
		a, err := s.OK(edits...)
		ta.add("", a, err)
	})
	return ta
}

// Each calls f for 0 to n-1, so many at once, and returns when all have returned.
func Each(n, concurrency int, f func(i int)) {
	var wg sync.WaitGroup
	var next atomic.Int64
	for range concurrency {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

// SameOwners fails the test for each session of before that is elsewhere now.
func SameOwners(t testing.TB, before, now map[string]string) {
	t.Helper()
	moved := 0
	for key, pod := range before {
		if now[key] != pod {
			moved++
		}
	}
	if moved > 0 {
		t.Errorf("%d of %d sessions moved", moved, len(before))
	}
}

// On returns the sessions that pod owns, sorted.
func On(owners map[string]string, pod string) []string {
	var keys []string
	for key, owner := range owners {
		if owner == pod {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}
