package harness

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// History is what one session's client saw, in order.
type History struct {
	Key string
	// Pods are those that served it; one that served several requests in a row
	// is listed once.
	Pods     []string
	Requests int
	Failures []string
}

// Traffic is a load that goes on while something is done to the stack. The
// requests of one session follow each other.
type Traffic struct {
	stop   chan struct{}
	wg     sync.WaitGroup
	sent   []atomic.Int64 // requests finished, by client
	result []History      // of the clients' own until Stop
}

// Traffic starts requests with the session key in a header, each client
// pausing between two of them. An empty key makes an unbound client.
func (s *Stack) Traffic(t testing.TB, keys []string, pause time.Duration) *Traffic {
	tr := &Traffic{stop: make(chan struct{}), sent: make([]atomic.Int64, len(keys)), result: make([]History, len(keys))}
	for i, key := range keys {
		tr.result[i].Key = key
		tr.wg.Go(func() { tr.client(s, &tr.result[i], &tr.sent[i], pause) })
	}
	tr.Round(t)
	t.Cleanup(func() { tr.Stop() })
	return tr
}

func (tr *Traffic) client(s *Stack, h *History, sent *atomic.Int64, pause time.Duration) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		var edits []Edit
		if h.Key != "" {
			edits = append(edits, InHeader(h.Key))
		}
		a, err := s.OK(edits...)
		h.Requests++
		switch {
		case err != nil:
			h.Failures = append(h.Failures, err.Error())
		case len(h.Pods) == 0 || h.Pods[len(h.Pods)-1] != a.Pod:
			h.Pods = append(h.Pods, a.Pod)
		}
		sent.Add(1)
		select {
		case <-tr.stop:
			return
		case <-tick.C:
		}
	}
}

// Round returns when every client has sent another request, from beginning to
// end, since it was called.
func (tr *Traffic) Round(t testing.TB) {
	t.Helper()
	goal := make([]int64, len(tr.sent))
	for i := range goal {
		goal[i] = tr.sent[i].Load() + 2 // the next may be under way already
	}
	Eventually(t, Patience, "every client has sent another request", func() error {
		for i := range goal {
			if tr.sent[i].Load() < goal[i] {
				return fmt.Errorf("client %d has not", i)
			}
		}
		return nil
	})
}

// Stop ends the clients and returns what they saw. It may be called again.
func (tr *Traffic) Stop() []History {
	select {
	case <-tr.stop:
	default:
		close(tr.stop)
	}
	tr.wg.Wait()
	return tr.result
}

// NoFailures fails the test when a client saw one, and returns how many
// requests were sent.
func NoFailures(t testing.TB, histories []History) int {
	t.Helper()
	requests, failures, first := 0, 0, ""
	for _, h := range histories {
		requests += h.Requests
		failures += len(h.Failures)
		if first == "" && len(h.Failures) > 0 {
			first = h.Failures[0]
		}
	}
	if failures > 0 {
		t.Errorf("%d of %d requests failed; the first: %s", failures, requests, first)
	}
	return requests
}

// MaxPods fails the test for a bound session that was served by more than n
// pods in turn.
func MaxPods(t testing.TB, histories []History, n int) {
	t.Helper()
	bad := slices.IndexFunc(histories, func(h History) bool { return h.Key != "" && len(h.Pods) > n })
	if bad >= 0 {
		t.Errorf("a session was on %s, want at most %d", strings.Join(histories[bad].Pods, ", then "), n)
	}
}
