package e2e

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
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
			traffic := s.Traffic(t, clients(keys), time.Second)
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

// extproc is restarted under load: nothing fails, its bindings hold, and from the
// moment at which it listens, before it can know any service, no bound session is
// served elsewhere.
func TestExtprocRestartsUnderLoad(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(3)
	svc.Session.OnExtprocLoss = "allow"
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	keys := harness.Keys(60)
	before := s.Load(keys, 2, 8, harness.InHeader).Owners(t)
	traffic := s.Traffic(t, make([]string, 20), 100*time.Millisecond) // unbound
	bound := startBound(s, before, 300)
	for range 3 {
		s.Extproc.Stop(t)
		if code := s.Extproc.ExitCode(); code != 0 {
			t.Errorf("extproc ended with exit code %d after SIGTERM", code)
		}
		s.Extproc.Start(t)
		s.WaitReady(t)
		bound.wait(t, 100)
	}
	harness.NoFailures(t, traffic.Stop())
	bound.stop()
	bound.check(t, extprocTimes(t, s))
	harness.SameOwners(t, before, s.Load(keys, 3, 8, harness.InHeader).Owners(t))
}

// boundRequests are requests of bound sessions at a steady rate.
type boundRequests struct {
	quit chan struct{}
	wg   sync.WaitGroup

	mu        sync.Mutex
	sent      int
	elsewhere []span // of those that another pod than the owner served
	failures  []string
}

func startBound(s *harness.Stack, owners map[string]string, perSecond int) *boundRequests {
	b := &boundRequests{quit: make(chan struct{})}
	keys := slices.Sorted(maps.Keys(owners))
	b.wg.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(perSecond))
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-b.quit:
				return
			case <-tick.C:
				key := keys[n%len(keys)]
				b.wg.Go(func() { b.send(s, key, owners[key]) })
			}
		}
	})
	return b
}

func (b *boundRequests) send(s *harness.Stack, key, owner string) {
	began := time.Now()
	a, err := s.OK(harness.InHeader(key))
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sent++
	switch {
	case err != nil:
		b.failures = append(b.failures, err.Error())
	case a.Pod != owner:
		b.elsewhere = append(b.elsewhere, span{began, time.Now()})
	}
}

// wait returns when n more requests were answered.
func (b *boundRequests) wait(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.sent
	}
	goal := count() + n
	harness.Eventually(t, harness.Patience, "bound requests are answered", func() error {
		if count() < goal {
			return errNotYet
		}
		return nil
	})
}

func (b *boundRequests) stop() {
	close(b.quit)
	b.wg.Wait()
}

// check says how many requests were served elsewhere and fails for those that
// began while extproc was listening.
func (b *boundRequests) check(t *testing.T, listening []period) {
	t.Helper()
	late := 0
	for _, r := range b.elsewhere {
		if slices.ContainsFunc(listening, func(p period) bool { return !r.from.Before(p.from) && r.to.Before(p.to) }) {
			late++
		}
	}
	t.Logf("%d of %d requests of bound sessions were served by another pod over %d restarts, %d of them while extproc listened",
		len(b.elsewhere), b.sent, len(listening)-1, late)
	for _, p := range listening[1:] {
		t.Logf("listened %v before it knew its services", p.ready.Sub(p.from))
	}
	if late > 0 || len(b.failures) > 0 {
		t.Errorf("%d requests went elsewhere although extproc listened; failed: %v", late, b.failures)
	}
}

// span is the time from a request to its answer.
type span struct{ from, to time.Time }

// period is one life of extproc: from when it listened to when it was told to
// stop, or the distant future.
type period struct{ from, ready, to time.Time }

// extprocTimes reads from extproc's log when it listened.
func extprocTimes(t *testing.T, s *harness.Stack) []period {
	t.Helper()
	var lives []period
	for line := range strings.Lines(s.Extproc.Log(t)) {
		var entry struct {
			TS  time.Time `json:"ts"`
			Msg string    `json:"msg"`
		}
		if json.Unmarshal([]byte(line), &entry) != nil {
			continue
		}
		switch last := len(lives) - 1; {
		case entry.Msg == "extproc starts":
			lives = append(lives, period{from: entry.TS, to: entry.TS.Add(time.Hour)})
		case strings.HasPrefix(entry.Msg, "services and pods have arrived"):
			lives[last].ready = entry.TS
		case entry.Msg == "extproc stops":
			lives[last].to = entry.TS
		}
	}
	return lives
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
