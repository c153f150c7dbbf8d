package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// The replicas of these tests share no store, so that a session may move where they
// change. What is tested is that every request is decided by some replica: services
// deny what is not.

func twoReplicas() []harness.Network { return []harness.Network{harness.TCP, harness.TCP} }

func startReplicas(t *testing.T, timeout string, loss string, networks []harness.Network) *harness.Stack {
	t.Helper()
	svc := harness.Chat(3)
	svc.Session.OnExtprocLoss = loss
	return start(t, harness.Options{
		Services: []harness.Service{svc}, Extprocs: networks, MessageTimeout: timeout, FastPath: harness.FastPathOff,
	})
}

// undecided is how many callouts Envoy went on without, those counted that had been
// decided when their replica was killed, and of how many of them time was up.
func undecided(t *testing.T, s *harness.Stack) (all, timedOut int) {
	t.Helper()
	for name, n := range map[string]*int{"failure_mode_allowed": &all, "message_timeouts": &timedOut} {
		v, err := s.EnvoyStat("http.stateful_route.ext_proc.stateful_route." + name)
		if err != nil {
			t.Fatal(err)
		}
		*n = v
	}
	return all, timedOut
}

// Replicas are stopped, killed and started again in turn, each as soon as the one
// before is ready, and stay away for as long as Envoy needs to leave them or not: no
// request fails, wherever they listen.
func TestReplicasRestartInTurn(t *testing.T) {
	t.Parallel()
	for name, networks := range map[string][]harness.Network{
		"tcp":  twoReplicas(),
		"unix": {harness.Unix, harness.TCP, harness.Unix},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startReplicas(t, "", "deny", networks)
			traffic := s.Traffic(t, clients(harness.Keys(20)), 20*time.Millisecond)
			for _, r := range slices.Concat(s.Replicas, s.Replicas) {
				r.Stop(t)
				if code := r.ExitCode(); code != 0 {
					t.Errorf("%s ended with exit code %d after SIGTERM", r.Name, code)
				}
				r.Start(t)
				ready(t, r)
			}
			for _, r := range s.Replicas {
				for _, end := range []func(testing.TB){r.Stop, r.Kill} {
					s.WaitReady(t)
					end(t) // those under way are asked about again
					harness.Eventually(t, harness.Patience, "Envoy leaves the replica", s.AsksReplica(r, false))
					traffic.Round(t)
					r.Start(t)
					ready(t, r)
				}
			}
			traffic.Round(t)
			t.Logf("%d requests", harness.NoFailures(t, traffic.Stop()))
		})
	}
}

// ready returns when the replica itself says so. Envoy may not have seen it.
func ready(t *testing.T, r harness.Replica) {
	t.Helper()
	harness.Eventually(t, harness.Patience, r.Name+" is ready", func() error {
		_, err := harness.Body(r.Admin + "/readyz")
		return err
	})
}

// A replica that hangs answers no ping: what it was asked is asked of the other one
// within message_timeout, then Envoy leaves it, and comes back.
func TestAReplicaThatHangsIsLeft(t *testing.T) {
	t.Parallel()
	// Of the default 200ms three quarters go by until the other one is asked, which on a
	// busy machine is not always enough.
	for timeout, loss := range map[string]string{"200ms": "allow", "8s": "deny"} {
		t.Run(timeout, func(t *testing.T) {
			t.Parallel()
			s := startReplicas(t, timeout, loss, twoReplicas())
			traffic := s.Traffic(t, clients(harness.Keys(20)), 20*time.Millisecond)
			hangs := s.Replicas[1]
			for range 2 {
				hangs.Signal(syscall.SIGSTOP)
				took := harness.Eventually(t, harness.Patience, "Envoy leaves the replica", s.AsksReplica(hangs, false))
				traffic.Round(t)
				_, timedOut := undecided(t, s)
				t.Logf("left within %v; so far %d callouts were not decided in time", took, timedOut)
				hangs.Signal(syscall.SIGCONT)
				harness.Eventually(t, harness.Patience, "Envoy comes back", s.AsksReplica(hangs, true))
				traffic.Round(t)
			}
			t.Logf("%d requests", harness.NoFailures(t, traffic.Stop()))
			if n, err := s.EnvoyStat("cluster.stateful-route-extproc.http2.keepalive_timeout"); err != nil || n == 0 {
				t.Errorf("%d connections were given up, %v", n, err)
			}
		})
	}
}

// A replica is killed while it has requests before it: those, the large ones, too,
// are decided by the other one.
func TestCalloutsUnderWayAreAskedAgain(t *testing.T) {
	t.Parallel()
	s := startReplicas(t, patientTimeout, "deny", twoReplicas())
	dies := s.Replicas[1]
	for _, size := range []int{10, 40 << 10} {
		dies.Signal(syscall.SIGSTOP) // what it is asked from now on it never reads
		const n = 20
		var wg sync.WaitGroup
		answered := make(chan error, n)
		for _, key := range harness.Keys(n) {
			wg.Go(func() {
				_, err := s.OK(harness.InHeader(key + strings.Repeat("x", size)))
				answered <- err
			})
		}
		harness.Eventually(t, harness.Patience, "some are asked of the replica that hangs", func() error {
			active, err := s.EnvoyStat("cluster.stateful-route-extproc.upstream_rq_active")
			if err == nil && (active == 0 || len(answered)+active < n) {
				err = fmt.Errorf("%d asked, %d answered", active, len(answered))
			}
			return err
		})
		before := len(answered)
		dies.Kill(t)
		wg.Wait()
		close(answered)
		for err := range answered {
			if err != nil {
				t.Error(err)
			}
		}
		t.Logf("%d of %d waited for the replica that was killed", n-before, n)
		if before == n {
			t.Error("none was under way")
		}
		dies.Start(t)
		s.WaitReady(t)
	}
}

// No replica is there: as soon as Envoy knows, no request waits for one, though
// message_timeout is longer than any client's patience. They come back and are asked.
func TestNoReplicaIsLeft(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		loss, timeout string
		replicas      []harness.Network
	}{
		"allow":  {"allow", "10m", twoReplicas()},
		"deny":   {"deny", "10m", twoReplicas()},
		"single": {"deny", "400ms", twoReplicas()[:1]}, // left after message_timeout
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startReplicas(t, c.timeout, c.loss, c.replicas)
			keys := harness.Keys(20)
			s.Load(keys, 2, 8, harness.InHeader)
			for _, r := range s.Replicas {
				r.Kill(t)
			}
			harness.Each(20, 20, func(i int) { // of them some come before Envoy knows
				a, err := s.Get(harness.InHeader(keys[i]))
				checkLoss(t, c.loss, a, err)
			})
			for _, r := range s.Replicas {
				harness.Eventually(t, harness.Patience, "Envoy leaves the replica", s.AsksReplica(r, false))
			}
			before, timedOutBefore := undecided(t, s)
			harness.Each(20, 20, func(i int) {
				a, err := s.Get(harness.InHeader(keys[i]))
				checkLoss(t, c.loss, a, err)
			})
			lost, timedOut := undecided(t, s)
			if lost != before+20 || timedOut != timedOutBefore {
				t.Errorf("of 20 requests %d were undecided, and %d waited until time was up", lost-before, timedOut-timedOutBefore)
			}
			for _, r := range s.Replicas {
				r.Start(t)
			}
			s.WaitReady(t)
			for _, err := range s.Load(keys, 2, 8, harness.InHeader).Failures() {
				t.Error(err)
			}
			if n, _ := undecided(t, s); n != lost {
				t.Errorf("%d more were undecided after they came back", n-lost)
			}
		})
	}
}

func checkLoss(t *testing.T, loss string, a harness.Answer, err error) {
	t.Helper()
	want, reason := http.StatusOK, ""
	if loss == "deny" {
		want, reason = http.StatusServiceUnavailable, "extproc-lost"
	}
	if got := a.Header.Get("x-stateful-route-reason"); err != nil || a.Status != want || got != reason {
		t.Errorf("status %d, reason %q, %v", a.Status, got, err)
	}
}

// A replica that serves other services, as one of another xds-server, answers each
// callout with an error, and its health is good: the requests are decided by the other
// replica, and Envoy leaves it for a while.
func TestAReplicaThatAnswersErrorsIsLeft(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(1)
	svc.Name = "another"
	stranger := start(t, harness.Options{Services: []harness.Service{svc}}).Replicas[0]
	s := startReplicas(t, "", "deny", []harness.Network{harness.TCP})
	s.Change(t, func(c *harness.Config) { c.Envoy.Extproc.Address = append(c.Envoy.Extproc.Address, stranger.Address) })
	harness.Eventually(t, harness.Patience, "Envoy asks the stranger, too", s.AsksReplica(stranger, true))
	traffic := s.Traffic(t, clients(harness.Keys(20)), 20*time.Millisecond)
	harness.Eventually(t, harness.Patience, "Envoy leaves the replica", func() error {
		n, err := s.EnvoyStat("cluster.stateful-route-extproc.outlier_detection.ejections_enforced_consecutive_5xx")
		if err == nil && n == 0 {
			err = errors.New("it was not ejected")
		}
		return err
	})
	traffic.Round(t)
	t.Logf("%d requests", harness.NoFailures(t, traffic.Stop()))
}

// With session_affinity each session is at one replica, wherever its key is; those of
// one that is away go to the other, and the other's stay.
func TestSessionsKeepToAReplica(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(3)
	svc.Session.OnExtprocLoss = "deny"
	s := start(t, harness.Options{Services: []harness.Service{svc}, Extprocs: twoReplicas(), SessionAffinity: true})
	long := harness.Keys(1)[0] + strings.Repeat("x", 20<<10) // more than Envoy hashes, and than metadata may be
	s.Load([]string{long}, 4, 1, harness.InHeader).Owners(t)
	var all []string
	for name, where := range map[string]func(string) harness.Edit{"header": harness.InHeader, "query": harness.InQuery} {
		before := atReplicas(t, s)
		keys := harness.Keys(40)
		s.Load(keys, 4, 8, where).Owners(t)
		for i, held := range atReplicas(t, s) {
			if len(held) == len(before[i]) {
				t.Errorf("%s has none of 40 sessions by %s", s.Replicas[i].Name, name)
			}
		}
		all = append(all, keys...)
	}
	held := atReplicas(t, s)
	t.Logf("%d sessions: %d at one replica, %d at the other", len(all)+1, len(held[0]), len(held[1]))
	if len(held[0])+len(held[1]) != len(all)+1 {
		t.Error("some are at both")
	}
	s.Replicas[1].Kill(t)
	harness.Eventually(t, harness.Patience, "Envoy leaves the replica", s.AsksReplica(s.Replicas[1], false))
	for _, err := range s.Load(all, 2, 8, harness.InHeader).Failures() {
		t.Error(err)
	}
	if n := len(atReplicas(t, s)[0]); n != len(all)+1 && n != len(all) { // the long one may be at the other
		t.Errorf("the replica that is left has %d of %d sessions", n, len(all))
	}
}

// atReplicas returns the sessions that each replica holds, with their pods.
func atReplicas(t *testing.T, s *harness.Stack) []map[string]string {
	t.Helper()
	out := make([]map[string]string, len(s.Replicas))
	for i, r := range s.Replicas {
		if r.Running() {
			out[i] = bindingsAt(t, r.Admin, "chat")
		}
	}
	return out
}

// Both replicas' load reports count, and routectl sees both, also on one machine,
// where their node ids are the same.
func TestReplicasAreSeen(t *testing.T) {
	t.Parallel()
	s := startReplicas(t, "", "deny", twoReplicas())
	keys := harness.Keys(40)
	s.Load(keys, 4, 8, harness.InHeader)
	held := atReplicas(t, s)
	t.Logf("%d sessions without affinity: %d at one replica, %d at the other", len(keys), len(held[0]), len(held[1]))
	if len(held[0]) == 0 || len(held[1]) == 0 {
		t.Fatal("a replica has none")
	}
	harness.Eventually(t, harness.Patience, "xds-server counts the sessions of both", func() error {
		var pods []struct{ Sessions int }
		if err := harness.JSON(s.XDSAdmin+"/api/v1/services/chat/pods", &pods); err != nil {
			return err
		}
		sum := 0
		for _, p := range pods {
			sum += p.Sessions
		}
		if want := len(held[0]) + len(held[1]); sum != want {
			return fmt.Errorf("%d sessions, want %d", sum, want)
		}
		return nil
	})
	status := func() (text string, code int) {
		ctl := s.Routectl(t, "status", "-o", "json")
		code = ctl.ExitCode()
		return ctl.Log(t), code
	}
	if text, code := status(); code != 0 || !strings.Contains(text, `"extproc": 2`) {
		t.Errorf("status ended with %d and said %s", code, text)
	}
	s.Replicas[1].Kill(t)
	harness.Eventually(t, harness.Patience, "status has one extproc less", func() error {
		if text, code := status(); code == 0 || !strings.Contains(text, `"extproc": 1`) || !strings.Contains(text, s.Replicas[1].Admin) {
			return fmt.Errorf("it ended with %d and said %s", code, text)
		}
		return nil
	})
}
