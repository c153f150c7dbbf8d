package e2e

import (
	"net/http"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

func removePod(name string) func(*harness.Config) {
	return func(c *harness.Config) {
		c.Services[0].Pods.Static = harness.RemovePod(c.Services[0].Pods.Static, name)
	}
}

// While requests go on, a pod is taken out of the configuration: its sessions
// move once, the others never, and nobody sees a failure.
func TestRemovedPodRebindsItsSessionsOnce(t *testing.T) {
	t.Parallel()
	for _, variant := range variants {
		t.Run(variant.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, harness.Options{StateOfTheWorld: variant.sotw})
			keys := harness.Keys(90)
			before := s.Load(keys, 1, 8, harness.InHeader).Owners(t)
			traffic := s.Traffic(t, keys, 200*time.Millisecond)
			s.Change(t, removePod("chat-1"))
			after := s.Load(keys, 3, 8, harness.InHeader).Owners(t)
			traffic.Round(t)
			histories := traffic.Stop()
			harness.NoFailures(t, histories)
			harness.MaxPods(t, histories, 2)
			lost := harness.On(before, "chat-1")
			if len(lost) == 0 {
				t.Fatal("the removed pod had no session")
			}
			for _, key := range lost {
				delete(before, key)
			}
			harness.SameOwners(t, before, after)
			if still := harness.On(after, "chat-1"); len(still) > 0 {
				t.Errorf("%d sessions are on the removed pod", len(still))
			}
			for _, h := range histories {
				if slices.Contains(lost, h.Key) && h.Pods[len(h.Pods)-1] != after[h.Key] {
					t.Errorf("a rebound session ended on %v, the load saw it on %s", h.Pods, after[h.Key])
				}
			}
		})
	}
}

func TestRemovedPodRejectsItsSessions(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(3)
	svc.Session.OnPodLoss = "reject"
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	keys := harness.Keys(60)
	before := s.Load(keys, 1, 8, harness.InHeader).Owners(t)
	whole := svc.Pods.Static
	s.Change(t, removePod("chat-1"))
	lost := harness.On(before, "chat-1")
	if len(lost) == 0 {
		t.Fatal("the removed pod had no session")
	}
	for range 3 {
		for _, key := range lost {
			a, err := s.Get(harness.InHeader(key))
			if reason := a.Header.Get("x-stateful-route-reason"); err != nil || a.Status != http.StatusServiceUnavailable || reason != "pod-lost" {
				t.Fatalf("a session of the removed pod got %d (%q) from %q, %v; want 503 pod-lost", a.Status, reason, a.Pod, err)
			}
			delete(before, key)
		}
	}
	var others []string
	for key := range before {
		others = append(others, key)
	}
	harness.SameOwners(t, before, s.Load(others, 3, 8, harness.InHeader).Owners(t))
	s.Load(harness.Keys(20), 2, 4, harness.InHeader).Owners(t)

	// The pod was not forgotten: when it is back, so are its sessions.
	s.Change(t, func(c *harness.Config) { c.Services[0].Pods.Static = whole })
	harness.Eventually(t, harness.Patience, "the pod's sessions are served again", func() error {
		_, err := s.OK(harness.InHeader(lost[0]))
		return err
	})
	back := s.Load(lost, 2, 8, harness.InHeader).Owners(t)
	if n := len(harness.On(back, "chat-1")); n != len(lost) {
		t.Errorf("%d of %d sessions are back on their pod", n, len(lost))
	}
}

// A new pod takes new sessions and moves none.
func TestAddedPodMovesNoSession(t *testing.T) {
	t.Parallel()
	for _, variant := range variants {
		t.Run(variant.name, func(t *testing.T) {
			t.Parallel()
			svc := harness.Chat(3)
			svc.Balancing = map[string]any{"slow_start": "0s"}
			s := start(t, harness.Options{Services: []harness.Service{svc}, StateOfTheWorld: variant.sotw})
			keys := harness.Keys(60)
			before := s.Load(keys, 1, 8, harness.InHeader).Owners(t)
			traffic := s.Traffic(t, keys, 200*time.Millisecond)
			s.Change(t, func(c *harness.Config) {
				pods := &c.Services[0].Pods.Static
				*pods = append(*pods, harness.Pod{Name: "chat-3", Weight: 1})
			})
			harness.Eventually(t, harness.Patience, "the new pod gets a new session", func() error {
				a, err := s.OK(harness.InHeader(harness.Keys(1)[0]))
				if err == nil && a.Pod != "chat-3" {
					err = errNotYet
				}
				return err
			})
			traffic.Round(t)
			histories := traffic.Stop()
			harness.NoFailures(t, histories)
			harness.MaxPods(t, histories, 1)
			harness.SameOwners(t, before, s.Load(keys, 1, 8, harness.InHeader).Owners(t))
		})
	}
}

// A pod keeps its name and gets another address, as a restarted StatefulSet pod
// does: its sessions follow it.
func TestPodAtANewAddressKeepsItsSessions(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{})
	keys := harness.Keys(60)
	before := s.Load(keys, 1, 8, harness.InHeader).Owners(t)
	traffic := s.Traffic(t, keys, 200*time.Millisecond)
	s.Change(t, func(c *harness.Config) {
		// The harness starts a second process under the same name.
		pods := slices.Clone(c.Services[0].Pods.Static)
		pods[1].Address = ""
		c.Services[0].Pods.Static = pods
	})
	after := s.Load(keys, 2, 8, harness.InHeader).Owners(t)
	traffic.Round(t)
	histories := traffic.Stop()
	harness.NoFailures(t, histories)
	harness.MaxPods(t, histories, 1)
	harness.SameOwners(t, before, after)
}

// A pod gets the address of a pod that was removed in the same change, as happens
// where addresses are few: its sessions follow it without a gap, those of the
// removed pod are rebound.
func TestPodAtARemovedPodsAddressKeepsItsSessions(t *testing.T) {
	t.Parallel()
	programs, err := build()
	if err != nil {
		t.Fatal(err)
	}
	for _, variant := range variants {
		t.Run(variant.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, harness.Options{StateOfTheWorld: variant.sotw})
			keys := harness.Keys(90)
			before := s.Load(keys, 1, 8, harness.InHeader).Owners(t)
			moving, gone := harness.On(before, "chat-1"), harness.On(before, "chat-0")
			if len(moving) == 0 || len(gone) == 0 {
				t.Fatalf("sessions per pod: %d on the one that moves, %d on the one that goes", len(moving), len(gone))
			}
			address := s.PodAddress(t, "chat-0")
			s.Pods["chat-0"].Stop(t)
			harness.NewProcess(t, "chat-1-moved", filepath.Join(programs.Dir, "demo-pod"), "--name", "chat-1", "--listen", address)
			traffic := s.Traffic(t, append(moving, harness.On(before, "chat-2")...), 20*time.Millisecond)
			s.Change(t, func(c *harness.Config) {
				pods := slices.Clone(c.Services[0].Pods.Static)
				pods[1].Address = address
				c.Services[0].Pods.Static = pods[1:]
			})
			s.WaitClients(t)
			traffic.Round(t)
			histories := traffic.Stop()
			harness.NoFailures(t, histories)
			harness.MaxPods(t, histories, 1)
			s.Pods["chat-1"].Stop(t) // the process at the old address
			after := s.Load(keys, 2, 8, harness.InHeader).Owners(t)
			for _, key := range gone {
				delete(before, key)
			}
			harness.SameOwners(t, before, after)
			moved, err := harness.Metric(s.ExtprocAdmin+"/metrics", "stateful_route_sessions_rebound_total")
			if err != nil || int(moved) != len(gone) {
				t.Errorf("%v rebinds counted, %v; want %d: one for each session of the removed pod", moved, err, len(gone))
			}
		})
	}
}
