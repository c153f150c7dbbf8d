package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

const lateRetry = "late-retry"

// attemptsAt is how many attempts the pods saw, of how many requests.
func attemptsAt(pods map[string]*closingPod) (attempts, requests int) {
	for _, pod := range pods {
		pod.mu.Lock()
		requests += len(pod.attempts)
		for _, n := range pod.attempts {
			attempts += n
		}
		pod.mu.Unlock()
	}
	return attempts, requests
}

// Of a session that Envoy knows a request that meets a closing connection begins anew, once,
// at the same pod, whatever protocol its client speaks and also without extproc. It is
// counted once, and what marks it cannot be forged.
func TestFastPathRetriesAtTheSessionsPod(t *testing.T) {
	t.Parallel()
	s, pods := startClosing(t, harness.FastPathOn)
	keys := harness.Keys(30)
	owners := s.Load(keys, 1, 8, harness.InHeader).Owners(t)
	onFastPath(t, s, keys)
	counted := func() float64 {
		n, err := harness.Metric(s.ExtprocAdmin+"/metrics", "stateful_route_requests_total", `service="chat"`)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	settled(t, counted)
	before := counted()
	router, module := triedAgain(t, s)
	attempts, requests := attemptsAt(pods)
	ofOne, err := requestsOf(s, keys[0])
	if err != nil {
		t.Fatal(err)
	}
	h2, h1 := plainHTTP2(t), &http.Transport{}
	t.Cleanup(h1.CloseIdleConnections)
	late := sendAll(t, s, keys, owners, h1, h2)
	const sent = 30 * 4
	harness.Eventually(t, harness.Patience, "each request is counted", func() error {
		if n := int(counted() - before); n != sent {
			return fmt.Errorf("%d of %d", n, sent)
		}
		return nil
	})
	settled(t, counted)
	if n := int(counted() - before); n != sent {
		t.Errorf("%d requests are counted as %d", sent, n)
	}
	if n, err := requestsOf(s, keys[0]); err != nil || n != ofOne+4 {
		t.Errorf("4 requests of a session are counted as %d, %v", n-ofOne, err)
	}
	allAttempts, allRequests := attemptsAt(pods)
	repeated := allAttempts - attempts - (allRequests - requests)
	r, m := triedAgain(t, s)
	if m-module != repeated || r != router || repeated < sent/2-late {
		t.Errorf("the pods saw %d requests twice, of which Envoy says %d, and %d retries by its router", repeated, m-module, r-router)
	}
	if n, err := s.EnvoyStat("http.stateful_route.downstream_rq_active"); err != nil || n != 0 {
		t.Errorf("%d requests are still under way, %v", n, err)
	}
	for name, pod := range pods {
		if len(pod.headers) > 0 {
			t.Errorf("%s got %v", name, pod.headers)
		}
	}
	s.Extproc.Kill(t)
	sendAll(t, s, keys, owners, h1, h2)
}

// sendAll sends requests of all sessions twice over each of some connections, and returns how
// many were tried again too late, on a busy machine.
func sendAll(t *testing.T, s *harness.Stack, keys []string, owners map[string]string, over ...http.RoundTripper) (late int) {
	t.Helper()
	for i := range 2 * len(keys) {
		key := keys[i%len(keys)]
		for _, by := range over {
			a, err := s.GetOver(by, harness.InHeader(key), harness.RawHeader("x-stateful-route-again", "1"), pleaseRetry())
			switch {
			case err == nil && a.Header.Get("x-stateful-route-reason") == lateRetry:
				late++
			case err != nil || a.Status != http.StatusOK || a.Pod != owners[key]:
				t.Errorf("%d from %q, want 200 from %s: %v", a.Status, a.Pod, owners[key], err)
			}
		}
	}
	return late
}

// What becomes of the session between the attempts holds for the second: one that was moved
// or forgotten goes to its new pod, one whose pod drains stays.
func TestFastPathRetriesFollowTheSession(t *testing.T) {
	t.Parallel()
	s, pods := startClosing(t, harness.FastPathOn)
	admin := func(method, url, body string) {
		if _, err := harness.Call(method, url, body); err != nil {
			t.Error(err)
		}
	}
	next := map[string]string{"chat-0": "chat-1", "chat-1": "chat-2", "chat-2": "chat-0"}
	for _, change := range []struct {
		path   string
		change func(key, pod string)
		want   func(pod string) string // "" is any
	}{
		{"/moved", func(key, pod string) { admin(http.MethodPut, sessionURL(s, key), `{"pod": "`+next[pod]+`"}`) },
			func(pod string) string { return next[pod] }},
		{"/forgotten", func(key, _ string) { admin(http.MethodDelete, sessionURL(s, key), "") }, func(string) string { return "" }},
		{"/draining", func(_, pod string) { s.Order(t, "chat", pod, "drain") }, func(pod string) string { return pod }},
	} {
		late := true
		for _, key := range harness.Keys(8) {
			key += change.path[1:]
			owner := s.Load([]string{key}, 1, 1, harness.InHeader).Owners(t)[key]
			onFastPath(t, s, []string{key})
			held := 0
			for _, pod := range pods {
				pod.hold = func(path string) bool {
					if path != change.path || held > 0 {
						return false
					}
					held++
					change.change(key, owner)
					return true
				}
			}
			a, err := s.Get(harness.InHeader(key), harness.Path(change.path))
			if late = a.Header.Get("x-stateful-route-reason") == lateRetry; late {
				continue
			}
			if want := change.want(owner); err != nil || held != 1 || a.Status != http.StatusOK || want != "" && a.Pod != want {
				t.Errorf("%s: %d from %q, want %q, %v", change.path, a.Status, a.Pod, want, err)
			}
			break
		}
		if late {
			t.Errorf("%s: each of 8 retries was late", change.path)
		}
	}
}

// A pod that refuses connections is tried once more for its sessions, and no more often; what
// may have been done by it is not repeated. Requests without a session go elsewhere.
func TestFastPathRetriesEndAtADeadPod(t *testing.T) {
	t.Parallel()
	svc := roundRobin(3)
	svc.HealthCheck = map[string]any{"none": true}
	s, _, owners := startFast(t, svc, 30)
	s.Pods["chat-1"].Kill(t)
	lost := harness.On(owners, "chat-1")
	_, before := triedAgain(t, s)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for _, key := range lost {
			if a, err := s.Get(harness.InHeader(key), withMethod(method, ""), pleaseRetry()); err != nil || a.Status != http.StatusServiceUnavailable {
				t.Errorf("%s: %d from %q, %v; want 503", method, a.Status, a.Pod, err)
			}
		}
	}
	if _, after := triedAgain(t, s); after-before != len(lost) {
		t.Errorf("%d of %d requests were tried again that may be", after-before, len(lost))
	}
	_, before = triedAgain(t, s)
	harness.Eventually(t, harness.Patience, "requests without a session meet the dead pod", func() error {
		harness.Each(256, 64, func(i int) { // many at a time: of those that come slowly each takes the callout
			if a, err := s.Get(withMethod([]string{"GET", "POST"}[i%2], "")); err != nil || a.Status != http.StatusOK {
				t.Errorf("without a session: %d, %v", a.Status, err)
			}
		})
		if _, after := triedAgain(t, s); after == before {
			return errors.New("none was tried again")
		}
		return nil
	})
}
