package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
	"github.com/stateful-route/stateful-route/internal/redistest"
)

// storeLease is short, so that a test need not wait long for the lease of what it killed,
// and long enough for a machine that runs eight tests at a time.
const storeLease = 2 * time.Second

// sharing is a stack of replicas that share their bindings.
type sharing struct {
	*harness.Stack
	store *redistest.Server
}

// startSharing starts n replicas and a store; loss is its on_store_loss.
func startSharing(t *testing.T, n int, loss string) sharing {
	t.Helper()
	store := redistest.Start(t)
	svc := harness.Chat(3)
	svc.Session.OnExtprocLoss, svc.Session.OnStoreLoss = "deny", loss
	s := start(t, harness.Options{
		Services: []harness.Service{svc}, Extprocs: make([]harness.Network, n),
		Store: map[string]any{"valkey": map[string]any{"addresses": []string{store.Addr()}, "lease": storeLease.String(), "timeout": "1900ms"}},
	})
	return sharing{s, store}
}

// knowAll has every replica know the sessions: each is asked until it has that many.
func (s sharing) knowAll(t *testing.T, keys []string) {
	t.Helper()
	for _, r := range s.Replicas {
		harness.Eventually(t, harness.Patience, r.Name+" knows all sessions", func() error {
			s.Load(keys, 1, 20, harness.InHeader)
			n, err := harness.Metric(r.Admin+"/metrics", "stateful_route_cache_size")
			if err == nil && int(n) < len(keys) {
				err = fmt.Errorf("it has %v of %d", n, len(keys))
			}
			return err
		})
	}
}

// leases reports an error until all replicas have a lease, or none has.
func (s sharing) leases(run bool) func() error {
	return func() error {
		for _, r := range s.Replicas {
			n, err := harness.Metric(r.Admin+"/metrics", "stateful_route_store_lease_seconds")
			if err == nil && n > 0 != run {
				err = fmt.Errorf("%s has %v s left", r.Name, n)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
}

// The first requests of a session come to all replicas at once, and one pod has it.
func TestReplicasShareTheFirstBinding(t *testing.T) {
	t.Parallel()
	s := startSharing(t, 3, "deny")
	owners := s.Load(harness.Keys(200), 5, 50, harness.InHeader).Owners(t)
	if used := usedPods(owners); len(used) != 3 {
		t.Errorf("sessions are on %v", used)
	}
	asked := 0
	for _, r := range s.Replicas {
		if n, err := harness.Metric(r.Admin+"/metrics", "stateful_route_store_operations_total", `operation="claim"`, `result="ok"`); err == nil && n > 0 {
			asked++
		}
	}
	if asked != 3 {
		t.Errorf("%d replicas have claimed, want 3", asked)
	}
}

func usedPods(owners map[string]string) []string {
	var pods []string
	for _, pod := range owners {
		if !slices.Contains(pods, pod) {
			pods = append(pods, pod)
		}
	}
	return pods
}

// A session that is moved through one replica is on its new pod for every request that
// begins when the call has returned, whichever replica is asked.
func TestAMoveThroughOneReplicaHoldsAtAll(t *testing.T) {
	t.Parallel()
	s := startSharing(t, 3, "deny")
	for _, key := range harness.Keys(10) {
		if _, err := s.OK(harness.InHeader(key)); err != nil {
			t.Fatal(err)
		}
		for i := range 6 {
			pod := fmt.Sprintf("chat-%d", i%3)
			if _, err := harness.Call(http.MethodPut, s.Replicas[i%3].Admin+"/api/v1/sessions/chat/"+key, `{"pod": "`+pod+`"}`); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for range 6 {
				wg.Go(func() {
					if a, err := s.OK(harness.InHeader(key)); err != nil || a.Pod != pod {
						t.Errorf("on %s after the move to %s: %v", a.Pod, pod, err)
					}
				})
			}
			wg.Wait()
		}
	}
}

// Replicas are restarted in turn, killed, and stopped: no session leaves its pod, and of
// what is sent meanwhile only what a killed or stopped replica had may fail.
func TestReplicasThatShareComeAndGo(t *testing.T) {
	t.Parallel()
	s := startSharing(t, 3, "deny")
	traffic := s.Traffic(t, clients(harness.Keys(40)), 20*time.Millisecond)
	for _, r := range s.Replicas {
		r.Stop(t)
		if code := r.ExitCode(); code != 0 {
			t.Errorf("%s ended with exit code %d", r.Name, code)
		}
		r.Start(t)
		ready(t, r)
		traffic.Round(t)
	}
	harness.NoFailures(t, traffic.Stop())
	harness.MaxPods(t, traffic.Stop(), 1)

	traffic = s.Traffic(t, clients(harness.Keys(40)), 20*time.Millisecond)
	s.Replicas[1].Kill(t)
	traffic.Round(t)
	s.Replicas[1].Start(t)
	ready(t, s.Replicas[1])
	s.Replicas[2].Signal(syscall.SIGSTOP)
	harness.Eventually(t, harness.Patience, "Envoy leaves the replica", s.AsksReplica(s.Replicas[2], false))
	traffic.Round(t)
	s.Replicas[2].Signal(syscall.SIGCONT)
	traffic.Round(t)
	harness.MaxPods(t, traffic.Stop(), 1)
}

// While the store is away known sessions go on where the service allows that; others are
// refused where it denies. When it is back without its data nobody has moved.
func TestTheStoreIsAway(t *testing.T) {
	t.Parallel()
	for _, loss := range []string{"allow", "deny"} {
		t.Run(loss, func(t *testing.T) {
			t.Parallel()
			s := startSharing(t, 2, loss)
			keys := harness.Keys(30)
			known := s.Load(keys, 4, 20, harness.InHeader).Owners(t)
			s.knowAll(t, keys)
			s.store.Kill()
			harness.Eventually(t, harness.Patience, "the leases run out", s.leases(false))
			for _, key := range keys {
				a, err := s.Get(harness.InHeader(key))
				if err != nil {
					t.Fatal(err)
				}
				if loss == "allow" && a.Pod != known[key] {
					t.Errorf("a known session: %d, on %q, was on %s", a.Status, a.Pod, known[key])
				}
				if reason := a.Header.Get("x-stateful-route-reason"); loss == "deny" && (a.Status != http.StatusServiceUnavailable || reason != "table-unavailable") {
					t.Errorf("a known session: %d, %q", a.Status, reason)
				}
			}
			s.store.Restart()
			fresh := harness.Keys(1)[0]
			harness.Eventually(t, harness.Patience, "the leases go on", s.leases(true))
			harness.Eventually(t, harness.Patience, "new sessions are bound again", func() error {
				_, err := s.OK(harness.InHeader(fresh))
				return err
			})
			for key, pod := range s.Load(keys, 4, 20, harness.InHeader).Owners(t) {
				if pod != known[key] {
					t.Errorf("%s is on %s, was on %s", key, pod, known[key])
				}
			}
		})
	}
}

// Two replicas bind new sessions at once: no pod gets more than max_sessions over all of them,
// and what there is room for is used.
func TestReplicasShareMaxSessions(t *testing.T) {
	t.Parallel()
	const most = 20
	store := redistest.Start(t)
	svc := harness.Chat(3)
	svc.Balancing = map[string]any{"max_sessions": most}
	s := start(t, harness.Options{
		Services: []harness.Service{svc}, Extprocs: twoReplicas(),
		Store: map[string]any{"valkey": map[string]any{"addresses": []string{store.Addr()}, "lease": storeLease.String(), "timeout": "1900ms"}},
	})
	taken := s.Load(harness.Keys(6*most), 1, 60, harness.InHeader)
	sessions := taken.ByPod() // a request for each session
	if sum := sessions["chat-0"] + sessions["chat-1"] + sessions["chat-2"]; sum+len(taken.Failures()) != taken.Requests() {
		t.Errorf("%d sessions are on pods, %d were refused, of %d", sum, len(taken.Failures()), taken.Requests())
	}
	for pod, n := range sessions {
		if n > most {
			t.Errorf("%s has %d sessions, and may have %d", pod, n, most)
		}
	}
	for _, failure := range taken.Failures() {
		if !strings.Contains(failure, "503") {
			t.Errorf("a session was refused by %s", failure)
		}
	}
	// Once replicas have heard how many there are, all places are taken, and no more.
	harness.Eventually(t, harness.Patience, "all pods have as many sessions as they may", func() error {
		more := s.Load(harness.Keys(3), 1, 3, harness.InHeader)
		for pod, n := range more.ByPod() {
			if sessions[pod] += n; sessions[pod] > most {
				t.Errorf("%s has %d sessions, and may have %d", pod, sessions[pod], most)
			}
		}
		if len(sessions) < 3 || min(sessions["chat-0"], sessions["chat-1"], sessions["chat-2"]) < most {
			return fmt.Errorf("sessions: %v", sessions)
		}
		return nil
	})
}
