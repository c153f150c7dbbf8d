package e2e

import (
	"errors"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// outage is how long xds-server is away.
const outage = 30 * time.Second

// clients returns n bound clients' keys and as many unbound ones.
func clients(bound []string) []string {
	return append(append([]string(nil), bound...), make([]string, len(bound))...)
}

func TestXDSServerAway(t *testing.T) {
	t.Parallel()
	for _, variant := range variants {
		t.Run(variant.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, harness.Options{StateOfTheWorld: variant.sotw})
			keys := harness.Keys(20)
			before := s.Load(keys, 2, 8, harness.InHeader).Owners(t)
			traffic := s.Traffic(t, clients(keys), 250*time.Millisecond)
			s.XDS.Kill(t)
			// New sessions are placed in the meantime, too.
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for end := time.Now().Add(outage); time.Now().Before(end); <-tick.C {
				s.Load(harness.Keys(5), 2, 2, harness.InHeader).Owners(t)
			}
			s.XDS.Start(t)
			s.WaitReady(t)
			s.WaitClients(t)
			// It converges: what changes now reaches Envoy and extproc.
			s.Change(t, removePod("chat-2"))
			after := s.Load(keys, 2, 8, harness.InHeader).Owners(t)
			histories := traffic.Stop()
			harness.NoFailures(t, histories)
			harness.MaxPods(t, histories, 2)
			for _, key := range harness.On(before, "chat-2") {
				delete(before, key)
			}
			harness.SameOwners(t, before, after)
			checkAccepted(t, s)
			nacks, err := harness.Metric(s.XDSAdmin+"/metrics", "stateful_route_xds_nacks_total")
			if err != nil && !errors.Is(err, harness.ErrNoMetric) {
				t.Error(err)
			}
			if nacks != 0 {
				t.Errorf("%v NACKs since the restart", nacks)
			}
		})
	}
}

// extproc is restarted under load: nothing fails, and its bindings hold.
func TestExtprocRestartsUnderLoad(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(3)
	svc.Session.OnExtprocLoss = "allow"
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	keys := harness.Keys(60)
	before := s.Load(keys, 2, 8, harness.InHeader).Owners(t)
	traffic := s.Traffic(t, clients(keys), 100*time.Millisecond)
	for range 3 {
		s.Extproc.Stop(t)
		if code := s.Extproc.ExitCode(); code != 0 {
			t.Errorf("extproc ended with exit code %d after SIGTERM", code)
		}
		s.Extproc.Start(t)
		s.WaitReady(t)
	}
	requests := harness.NoFailures(t, traffic.Stop())
	t.Logf("%d requests", requests)
	harness.Eventually(t, harness.Patience, "Envoy calls extproc again", func() error {
		n, err := harness.Metric(s.ExtprocAdmin+"/metrics", "stateful_route_cache_hits_total")
		if err == nil && n == 0 {
			err = errNotYet
		}
		if _, getErr := s.OK(harness.InHeader(keys[0])); getErr != nil {
			t.Error(getErr)
		}
		return err
	})
	harness.SameOwners(t, before, s.Load(keys, 3, 8, harness.InHeader).Owners(t))
}

// Every program ends by itself, and says so with its exit code.
func TestProgramsEndWellOnSIGTERM(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{})
	s.Load(harness.Keys(20), 2, 8, harness.InHeader).Owners(t)
	for _, p := range []*harness.Process{s.Envoy, s.Extproc, s.XDS, s.Pods["chat-0"]} {
		p.Stop(t)
		if code := p.ExitCode(); code != 0 {
			t.Errorf("%s ended with exit code %d after SIGTERM", p.Name, code)
		}
	}
}
