package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// newPods is how many pods are added one after the other; each fifth of them while xds-server is down.
var newPods = flag.Int("new-pods", 15, "pods that are added while sessions begin")

// newSession is the pause between the first requests of sessions.
const newSession = 5 * time.Millisecond

// podsOfOne are pods of one server, which answers at every address of this machine's loopback.
func podsOfOne(t *testing.T) (pod func(i int) harness.Pod) {
	t.Helper()
	_, port, err := net.SplitHostPort(harness.Address(t))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", ":"+port) //nolint:gosec // 127.0.0.0/8 is meant
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		address, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		_ = json.NewEncoder(w).Encode(map[string]string{"pod": fmt.Sprint(address), "session": r.Header.Get("x-session-id")})
	})}
	go func() { _ = server.Serve(listener) }() // ends when it is closed
	t.Cleanup(func() { _ = server.Close() })
	return func(i int) harness.Pod {
		return harness.Pod{Name: fmt.Sprint("chat-", i), Address: net.JoinHostPort(fmt.Sprintf("127.0.0.%d", 1+i), port), Weight: 1}
	}
}

// newSessions sends the first requests of sessions until stop is called, which returns how many
// there were, by pod, and why some failed.
func newSessions(s *harness.Stack) (stop func() (byPod map[string]int, failures []string)) {
	var mu sync.Mutex
	byPod, over := map[string]int{}, make(chan struct{})
	var failures []string
	var all sync.WaitGroup
	all.Go(func() {
		tick := time.NewTicker(newSession)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			all.Go(func() {
				a, err := s.OK(harness.InHeader(harness.Keys(1)[0]))
				mu.Lock()
				defer mu.Unlock()
				if byPod[a.Pod]++; err != nil {
					failures = append(failures, err.Error())
				}
			})
		}
	})
	return func() (map[string]int, []string) {
		close(over)
		all.Wait()
		return byPod, failures
	}
}

// Pods are added while sessions begin all the time, some of them while xds-server is down: no
// session is bound to a pod before Envoy has it.
func TestSessionsBeginWhilePodsAreAdded(t *testing.T) {
	t.Parallel()
	pod := podsOfOne(t)
	svc := harness.Chat(0)
	svc.Balancing = map[string]any{"strategy": "round_robin", "slow_start": "0s"} // a new pod's turn comes at once
	svc.Pods.Static = []harness.Pod{pod(0), pod(1), pod(2)}
	s := start(t, harness.Options{Services: []harness.Service{svc}, FastPath: harness.FastPathOff})
	stop := newSessions(s)
	for i := range *newPods {
		down := i%5 == 4
		if down {
			s.XDS.Kill(t)
		}
		s.Edit(t, func(c *harness.Config) {
			pods := &c.Services[0].Pods
			if !down { // one that is removed while nobody says so is missed by whoever hears of it last
				pods.Static = pods.Static[len(pods.Static)-2:]
			}
			pods.Static = append(pods.Static, pod(3+i))
		})
		if down {
			s.XDS.Start(t)
		}
		s.WaitPods(t)
		s.WaitClients(t)
	}
	byPod, failures := stop()
	if len(failures) > 0 {
		t.Errorf("%d of %d first requests failed; the first: %s", len(failures), sum(byPod), failures[0])
	}
	if len(byPod) < *newPods/2 {
		t.Errorf("sessions began on %d pods only", len(byPod))
	}
	t.Logf("%d sessions began on %d pods", sum(byPod), len(byPod))
}
