package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// startFast is a stack whose Envoy knows n sessions of a service, and their pods.
func startFast(t *testing.T, svc harness.Service, n int) (s *harness.Stack, keys []string, owners map[string]string) {
	t.Helper()
	s = start(t, harness.Options{FastPath: harness.FastPathOn, Services: []harness.Service{svc}})
	keys = harness.Keys(n)
	owners = s.Load(keys, 1, 8, harness.InHeader).Owners(t)
	onFastPath(t, s, keys)
	return s, keys, owners
}

// onFastPath sends requests of all sessions until Envoy answers for every one itself.
func onFastPath(t *testing.T, s *harness.Stack, keys []string) {
	t.Helper()
	harness.Eventually(t, harness.Patience, "Envoy knows all sessions", func() error {
		before, err := s.FastPathRequests("hit")
		if err != nil {
			return err
		}
		s.Load(keys, 1, 8, harness.InHeader).Owners(t)
		after, err := s.FastPathRequests("hit")
		if hits := int(after - before); err != nil || hits < len(keys) {
			return fmt.Errorf("%d of %d, %w", hits, len(keys), err)
		}
		return nil
	})
}

func sessionURL(s *harness.Stack, key string) string {
	return s.ExtprocAdmin + "/api/v1/sessions/chat/" + key
}

// requestsOf is what extproc says of a session's requests.
func requestsOf(s *harness.Stack, key string) (n int, err error) {
	var record struct {
		Requests int `json:"requests"`
	}
	err = harness.JSON(sessionURL(s, key), &record)
	return record.Requests, err
}

// Known sessions do not ask extproc, which yet counts each of their requests, and is obeyed
// at once.
func TestFastPathSessions(t *testing.T) {
	t.Parallel()
	s, keys, owners := startFast(t, homeless(), 60)
	checkCounted(t, s, keys, owners)
	traffic := s.Traffic(t, keys[20:], 50*time.Millisecond)
	asked, err := s.FastPathRequests("unknown")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys[:10] {
		to := map[string]string{"chat-0": "chat-1", "chat-1": "chat-2", "chat-2": "chat-0"}[owners[key]]
		if _, err := harness.Call(http.MethodPut, sessionURL(s, key), `{"pod": "`+to+`"}`); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if a, err := s.OK(harness.InHeader(key)); err != nil || a.Pod != to {
				t.Errorf("moved from %s to %s, and answered by %q, %v", owners[key], to, a.Pod, err)
			}
		}
	}
	if now, err := s.FastPathRequests("unknown"); err != nil || now != asked {
		t.Errorf("%v requests of sessions that were moved had to ask, %v", now-asked, err)
	}
	for _, key := range keys[10:20] {
		if _, err := harness.Call(http.MethodDelete, sessionURL(s, key), ""); err != nil {
			t.Fatal(err)
		}
		if _, err := s.OK(harness.InHeader(key)); err != nil {
			t.Error(err)
		}
		if n, err := requestsOf(s, key); err != nil || n != 1 {
			t.Errorf("%d requests of a session that was forgotten before its last one, %v", n, err)
		}
	}
	harness.NoFailures(t, traffic.Stop())
}

// checkCounted sends requests of all sessions and awaits that they are counted, each once.
func checkCounted(t *testing.T, s *harness.Stack, keys []string, owners map[string]string) {
	t.Helper()
	const rounds = 5
	total := func() float64 {
		n, err := harness.Metric(s.ExtprocAdmin+"/metrics", "stateful_route_requests_total", `service="chat"`)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	settled(t, total)
	before := total()
	hits, err := s.FastPathRequests("hit")
	if err != nil {
		t.Fatal(err)
	}
	one, err := requestsOf(s, keys[0])
	if err != nil {
		t.Fatal(err)
	}
	harness.SameOwners(t, owners, s.Load(keys, rounds, 8, harness.InHeader).Owners(t))
	want := float64(rounds * len(keys))
	harness.Eventually(t, harness.Patience, "all requests are counted", func() error {
		if n := total() - before; n != want {
			return fmt.Errorf("%v of %v", n, want)
		}
		return nil
	})
	after, err := s.FastPathRequests("hit")
	if err != nil || after-hits != want {
		t.Errorf("%v of %v requests asked nobody, %v", after-hits, want, err)
	}
	if n, err := requestsOf(s, keys[0]); err != nil || n != one+rounds {
		t.Errorf("a session has %d requests, want %d, %v", n, one+rounds, err)
	}
}

// settled returns when a count has stopped to grow: the end of a request is counted after
// its answer.
func settled(t *testing.T, count func() float64) {
	t.Helper()
	last, same := -1.0, 0
	harness.Eventually(t, harness.Patience, "the count stays", func() error {
		now := count()
		if same++; now != last {
			last, same = now, 0
		}
		if same < 10 {
			return fmt.Errorf("%v, %d times", now, same)
		}
		return nil
	})
}

// A pod that is lost serves none of its sessions any more, whoever answers for them.
func TestFastPathLostPod(t *testing.T) {
	t.Parallel()
	for _, loss := range []string{"rebind", "reject"} {
		t.Run(loss, func(t *testing.T) {
			t.Parallel()
			svc := homeless()
			svc.Session.OnPodLoss = loss
			s, _, owners := startFast(t, svc, 30)
			lost := harness.On(owners, "chat-1")
			check := func(key string) error {
				a, err := s.Get(harness.InHeader(key))
				served := a.Status == http.StatusOK && a.Pod != "chat-1"
				refused := a.Status == http.StatusServiceUnavailable
				if err == nil && (loss == "rebind" && !served || loss == "reject" && !refused) {
					err = fmt.Errorf("status %d from %q", a.Status, a.Pod)
				}
				return err
			}
			s.Order(t, "chat", "chat-1", "maintenance")
			harness.Eventually(t, harness.Patience, "the order has reached Envoy and extproc", func() error { return check(lost[0]) })
			s.WaitClients(t)
			for _, key := range lost {
				if err := check(key); err != nil {
					t.Error(err)
				}
			}
			kept := harness.On(owners, "chat-0")
			harness.SameOwners(t, map[string]string{kept[0]: "chat-0"}, s.Load(kept[:1], 1, 1, harness.InHeader).Owners(t))
		})
	}
}

// kill -9 of extproc: what is bound goes on where it is, and after the restart Envoy follows
// the new table by itself.
func TestFastPathOutlivesExtproc(t *testing.T) {
	t.Parallel()
	s, keys, owners := startFast(t, homeless(), 200)
	awaitWritten(t, s)
	traffic := s.Traffic(t, keys, 400*time.Millisecond)
	for _, end := range []func(){func() { s.Extproc.Kill(t) }, func() { s.Extproc.Stop(t) }} {
		end()
		for range 3 {
			traffic.Round(t)
		}
		s.Extproc.Start(t)
		s.WaitReady(t)
		traffic.Round(t)
		onFastPath(t, s, keys)
	}
	histories := traffic.Stop()
	n := harness.NoFailures(t, histories)
	harness.MaxPods(t, histories, 1)
	t.Logf("%d requests", n)
	harness.SameOwners(t, owners, s.Load(keys, 1, 16, harness.InHeader).Owners(t))
}

// awaitWritten returns when extproc's file has all sessions.
func awaitWritten(t *testing.T, s *harness.Stack) {
	t.Helper()
	harness.Eventually(t, harness.Patience, "the sessions are in the file", func() error {
		var stats struct {
			Cache struct {
				Store struct{ Pending int }
			}
		}
		if err := harness.JSON(s.ExtprocAdmin+"/api/v1/stats", &stats); err != nil || stats.Cache.Store.Pending > 0 {
			return fmt.Errorf("%d are to be written, %w", stats.Cache.Store.Pending, err)
		}
		return nil
	})
}

// 500 first requests of one session at once end on one pod.
func TestFastPathRace(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{FastPath: harness.FastPathOn, Services: []harness.Service{roundRobin(3)}})
	for _, key := range harness.Keys(3) {
		tally := s.AtOnce(key, scaled(500))
		again := s.AtOnce(key, scaled(500))
		harness.SameOwners(t, tally.Owners(t), again.Owners(t))
	}
}

// What a client forges moves no session that Envoy answers for itself.
func TestFastPathForgedHeaders(t *testing.T) {
	t.Parallel()
	s, keys, owners := startFast(t, roundRobin(3), 6)
	checkForgeries(t, s, keys, owners)
}

// Where unbound requests are denied, sessions that Envoy knows go on without extproc, and
// what nobody can decide is refused.
func TestFastPathWhereUndecidedIsDenied(t *testing.T) {
	t.Parallel()
	svc := homeless()
	svc.Session.OnExtprocLoss = "deny"
	s, keys, owners := startFast(t, svc, 20)
	s.Extproc.Kill(t)
	harness.SameOwners(t, owners, s.Load(keys, 3, 8, harness.InHeader).Owners(t))
	a, err := s.Get(harness.InHeader("nobody knows it"))
	if reason := a.Header.Get("x-stateful-route-reason"); err != nil || a.Status != http.StatusServiceUnavailable || reason != "extproc-lost" {
		t.Errorf("an unknown session: %d from %q, reason %q, %v", a.Status, a.Pod, reason, err)
	}
}

// A service that begins to deny what is undecided refuses none of its known sessions, though
// Envoy hears of it and extproc does not yet.
func TestFastPathWhereDenyingBegins(t *testing.T) {
	t.Parallel()
	svc := homeless()
	svc.Session.OnExtprocLoss = "allow"
	s, keys, owners := startFast(t, svc, 20)
	s.Extproc.Signal(syscall.SIGSTOP)
	t.Cleanup(func() { s.Extproc.Signal(syscall.SIGCONT) })
	s.Edit(t, func(c *harness.Config) { c.Services[0].Session.OnExtprocLoss = "deny" })
	harness.Eventually(t, harness.Patience, "Envoy denies what is undecided", func() error {
		routes, err := harness.Call(http.MethodGet, s.EnvoyAdmin+"/config_dump?resource=dynamic_route_configs", "")
		if err != nil || !strings.Contains(routes, "stateful-route.deny-undecided") {
			return fmt.Errorf("its routes say nothing of it: %w", err)
		}
		return nil
	})
	harness.SameOwners(t, owners, s.Load(keys, 3, 8, harness.InHeader).Owners(t))
	s.Extproc.Signal(syscall.SIGCONT)
	onFastPath(t, s, keys)
}
