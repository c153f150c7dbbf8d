package probe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/xds/state"
)

func TestProbes(t *testing.T) {
	status := 200
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, "/healthz", http.StatusFound)
			return
		}
		w.WriteHeader(status)
	}))
	defer web.Close()
	webAt := netip.MustParseAddrPort(web.Listener.Addr().String())

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	state := health.NewServer()
	state.SetServingStatus("down", healthv1.HealthCheckResponse_NOT_SERVING)
	server := grpc.NewServer()
	healthv1.RegisterHealthServer(server, state)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	grpcAt := netip.MustParseAddrPort(listener.Addr().String())

	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	muteAt := netip.MustParseAddrPort(mute.Addr().String())
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closedAt := netip.MustParseAddrPort(closed.Addr().String())
	closed.Close()

	second := statefulroute.HealthCheck{Timeout: 5 * time.Second}
	with := func(c statefulroute.HealthCheck, edit func(*statefulroute.HealthCheck)) statefulroute.HealthCheck {
		edit(&c)
		return c
	}
	httpCheck := with(second, func(c *statefulroute.HealthCheck) { c.HTTP = "/healthz" })
	grpcCheck := with(second, func(c *statefulroute.HealthCheck) { c.GRPCSet = true })
	for _, c := range []struct {
		name   string
		check  statefulroute.HealthCheck
		at     netip.AddrPort
		status int
		fails  string
	}{
		{"http", httpCheck, webAt, 204, ""},
		{"http failing", httpCheck, webAt, 500, "status 500"},
		{"http redirect", with(httpCheck, func(c *statefulroute.HealthCheck) { c.HTTP = "/away" }), webAt, 200, "status 302"},
		{"http mute", with(httpCheck, func(c *statefulroute.HealthCheck) { c.Timeout = 20 * time.Millisecond }), muteAt, 0, "deadline"},
		{"grpc", grpcCheck, grpcAt, 0, ""},
		{"grpc down", with(grpcCheck, func(c *statefulroute.HealthCheck) { c.GRPC = "down" }), grpcAt, 0, "NOT_SERVING"},
		{"grpc unknown", with(grpcCheck, func(c *statefulroute.HealthCheck) { c.GRPC = "nobody" }), grpcAt, 0, "NotFound"},
		{"tcp", with(second, func(c *statefulroute.HealthCheck) { c.TCP = true }), muteAt, 0, ""},
		{"tcp closed", with(second, func(c *statefulroute.HealthCheck) { c.TCP = true }), closedAt, 0, "refused"},
	} {
		status = c.status
		err := probe(t.Context(), c.check, nil, c.at)
		if (err == nil) != (c.fails == "") || (err != nil && !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.fails)
		}
	}
}

// probedPods is a service's pods as the prober sees and sets them.
type probedPods struct {
	mu      sync.Mutex
	model   state.Model
	changed chan struct{}
	probes  atomic.Int64
	read    atomic.Int64 // times that the prober read the model
	refuse  atomic.Bool  // changes of a pod's health
	refused atomic.Int64
	raised  atomic.Int64 // times that a pod became healthy
}

func (p *probedPods) Probe(ctx context.Context, _, _ string) (context.Context, func(error, time.Duration)) {
	return ctx, func(error, time.Duration) { p.probes.Add(1) }
}

func (p *probedPods) SetHealth(_ context.Context, verdicts map[string]map[string]state.HealthVerdict) error {
	if p.refuse.Load() {
		p.refused.Add(1)
		return errors.New("not now")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.model = clone(p.model)
	for i := range p.model.Services[0].Members {
		m := &p.model.Services[0].Members[i]
		verdict, said := verdicts["chat"][m.Name]
		if !said {
			continue
		}
		wasDown := m.Down
		if m.Down, m.Avoid = !verdict.Healthy, verdict.Avoid; wasDown && verdict.Healthy {
			p.raised.Add(1)
		}
	}
	return nil
}

func (p *probedPods) isDown(pod string) bool {
	for _, m := range p.get().Services[0].Members {
		if m.Name == pod {
			return m.Down
		}
	}
	return false
}

// more returns a condition: that n more probes than now were made.
func (p *probedPods) more(n int64) func() bool {
	from := p.probes.Load()
	return func() bool { return p.probes.Load() >= from+n }
}

// edit changes the model as it is and signals it.
func (p *probedPods) edit(change func(*state.Model)) {
	p.mu.Lock()
	p.model = clone(p.model)
	change(&p.model)
	p.mu.Unlock()
	p.changed <- struct{}{}
}

func (p *probedPods) get() state.Model {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.model
}

// webPod is a pod whose health check answers what its switch says.
func webPod(t *testing.T, name string) (statefulroute.Pod, *atomic.Bool) {
	t.Helper()
	var ill atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if ill.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(srv.Close)
	return statefulroute.Pod{Name: name, Address: netip.MustParseAddrPort(srv.Listener.Addr().String()), Weight: 1}, &ill
}

func startProber(t *testing.T, check statefulroute.HealthCheck, pods ...statefulroute.Pod) (*Prober, *probedPods) {
	t.Helper()
	model := testModel(pods...)
	model.Services[0].Health = &check
	found := &probedPods{model: model, changed: make(chan struct{})}
	p := &Prober{Logger: zap.NewNop(), Observer: found, Set: found, Model: func() state.Model { found.read.Add(1); return found.get() }, Changed: found.changed}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p, found
}

func TestAFailingPodLeavesAndComesBack(t *testing.T) {
	a, aIll := webPod(t, "a")
	b, bIll := webPod(t, "b")
	check := statefulroute.HealthCheck{HTTP: "/", Interval: 10 * time.Millisecond, Timeout: time.Second, UnhealthyAfter: 2, HealthyAfter: 1}
	_, found := startProber(t, check, a, b)
	bIll.Store(true)
	await(t, "b to be taken out", func() bool { return found.isDown("b") })
	aIll.Store(true)
	await(t, "ten more probes", found.more(10))
	if found.isDown("a") {
		t.Error("the last pod was taken out")
	}
	bIll.Store(false)
	await(t, "b to be back", func() bool { return !found.isDown("b") })
	await(t, "a to be taken out now that b is there", func() bool { return found.isDown("a") })
	aIll.Store(false)
	await(t, "a to be back", func() bool { return !found.isDown("a") })
}

// An edited check judges a pod that was down by its own probes.
func TestAnEditedCheckFreesAPodThatRecovered(t *testing.T) {
	a, _ := webPod(t, "a")
	b, bIll := webPod(t, "b")
	bIll.Store(true)
	check := statefulroute.HealthCheck{HTTP: "/", Interval: 10 * time.Millisecond, Timeout: time.Second, UnhealthyAfter: 1, HealthyAfter: 1}
	_, found := startProber(t, check, a, b)
	await(t, "b to be taken out", func() bool { return found.isDown("b") })
	check.Timeout = 2 * time.Second
	found.edit(func(m *state.Model) { m.Services[0].Health = &check })
	await(t, "ten more probes", found.more(10))
	if n := found.raised.Load(); n > 0 {
		t.Errorf("the edit alone made b healthy, %d times", n)
	}
	bIll.Store(false)
	await(t, "b to be back", func() bool { return !found.isDown("b") })
}

// What the model believes of a pod is compared with what the probes found, not only
// told once: it forgets a pod that is removed and added again within a moment, and
// a change that could not be made is tried again.
func TestTheProberRepeatsWhatWasLost(t *testing.T) {
	a, _ := webPod(t, "a")
	b, bIll := webPod(t, "b")
	bIll.Store(true)
	check := statefulroute.HealthCheck{HTTP: "/", Interval: 10 * time.Millisecond, Timeout: time.Second, UnhealthyAfter: 1, HealthyAfter: 1}
	_, found := startProber(t, check, a, b)
	await(t, "b to be taken out", func() bool { return found.isDown("b") })
	found.edit(func(m *state.Model) { m.Services[0].Members[1].Down = false })
	await(t, "b to be taken out again", func() bool { return found.isDown("b") })
	found.refuse.Store(true)
	bIll.Store(false)
	await(t, "a change that is refused", func() bool { return found.refused.Load() > 0 })
	found.refuse.Store(false)
	await(t, "b to be back", func() bool { return !found.isDown("b") })
}

// A drained pod that passes is no reason to take out all that serve.
func TestADrainedPodIsNoHealthyPeer(t *testing.T) {
	a, aIll := webPod(t, "a")
	b, _ := webPod(t, "b")
	check := statefulroute.HealthCheck{HTTP: "/", Interval: 10 * time.Millisecond, Timeout: time.Second, UnhealthyAfter: 1, HealthyAfter: 1}
	_, found := startProber(t, check, a, b)
	found.edit(func(m *state.Model) { m.Services[0].Members[1].Override = statefulroute.Draining })
	aIll.Store(true)
	await(t, "ten more probes", found.more(10))
	if found.isDown("a") {
		t.Error("the only pod in service was taken out")
	}
	found.edit(func(m *state.Model) { m.Services[0].Members[1].Override = statefulroute.Ready })
	await(t, "a to be taken out", func() bool { return found.isDown("a") })
}

// Who switched health checks off does not want suspect pods probed either.
func TestASuspectWithoutACheckIsNotProbed(t *testing.T) {
	a, _ := webPod(t, "a")
	b, bIll := webPod(t, "b")
	bIll.Store(true)
	check := statefulroute.HealthCheck{HTTP: "/", Interval: time.Hour, Timeout: time.Second, UnhealthyAfter: 1, HealthyAfter: 1}
	p, found := startProber(t, check, a, b)
	found.edit(func(m *state.Model) { m.Services[0].Health = nil })
	p.Suspect(t.Context(), "chat", "b")
	found.edit(func(m *state.Model) { m.Services[0].Health = &check })
	p.Suspect(t.Context(), "chat", "a")
	await(t, "a probe of a", func() bool { return found.probes.Load() > 0 })
	if n := found.probes.Load(); n != 1 || found.isDown("b") {
		t.Errorf("%d probes, b is down: %v", n, found.isDown("b"))
	}
}

// A probe's result must not make the loop walk all pods.
func TestTheModelIsReadOnlyWhenItChanged(t *testing.T) {
	a, _ := webPod(t, "a")
	check := statefulroute.HealthCheck{HTTP: "/", Interval: 10 * time.Millisecond, Timeout: time.Second, UnhealthyAfter: 1, HealthyAfter: 1}
	_, found := startProber(t, check, a)
	await(t, "twenty probes", found.more(20))
	if n := found.read.Load(); n != 1 {
		t.Errorf("the model was read %d times for twenty probes and no change", n)
	}
}

// BenchmarkProberLoop is the loop's own work for one probe.
func BenchmarkProberLoop(b *testing.B) {
	for _, n := range []int{100, 5000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			m := testModel()
			m.Services[0].Health = &statefulroute.HealthCheck{TCP: true, Interval: time.Second, Timeout: time.Second, UnhealthyAfter: 2, HealthyAfter: 1}
			for i := range n {
				at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)
				m.Services[0].Members = append(m.Services[0].Members, state.Member{Pod: statefulroute.Pod{Name: "pod-" + strconv.Itoa(i), Address: at, Weight: 1}})
			}
			p := &Prober{Logger: zap.NewNop(), Model: func() state.Model { return m }}
			p.init()
			now := time.Unix(1000, 0)
			p.follow(b.Context(), now)
			c := p.checked["chat"]
			b.ResetTimer()
			for done := 0; done < b.N; { // one probe
				now = c.due
				for _, pod := range c.health.Due(now) {
					p.result(b.Context(), now, probeResult{podID{c.name, pod}, c.health, c.addresses[pod], nil})
					done++
				}
				p.requeue(c)
			}
		})
	}
}

// A pod that leaves the check, with its service or because checks end, is not
// left down for ever.
func TestTheEndOfCheckingLiftsWhatItFound(t *testing.T) {
	a, _ := webPod(t, "a")
	b, bIll := webPod(t, "b")
	bIll.Store(true)
	check := statefulroute.HealthCheck{HTTP: "/", Interval: 10 * time.Millisecond, Timeout: time.Second, UnhealthyAfter: 1, HealthyAfter: 1}
	_, found := startProber(t, check, a, b)
	await(t, "b to be taken out", func() bool { return found.isDown("b") })
	found.edit(func(m *state.Model) { m.Services[0].Health = nil })
	await(t, "b to be back", func() bool { return !found.isDown("b") })
}

// A suspicion means a probe now, not at the next interval, and one failure counts.
func TestASuspectPodIsProbedAtOnce(t *testing.T) {
	a, _ := webPod(t, "a")
	b, bIll := webPod(t, "b")
	check := statefulroute.HealthCheck{HTTP: "/", Interval: time.Hour, Timeout: time.Second, UnhealthyAfter: 5, HealthyAfter: 1}
	p, found := startProber(t, check, a, b)
	bIll.Store(true)
	// The prober knows its pods from its first turn on: the timer's, at once.
	await(t, "a probe of the suspect pod", func() bool { p.Suspect(t.Context(), "chat", "b"); return found.isDown("b") })
	p.Suspect(t.Context(), "nobody", "b")
	if found.isDown("a") {
		t.Error("a was not suspect")
	}
}

// heldPod is a pod whose health check answers only when it is let go: /bad
// fails then, any other path succeeds.
func heldPod(t *testing.T, name string) (pod statefulroute.Pod, probed <-chan string, letGo func(path string)) {
	t.Helper()
	came, gates := make(chan string, 10), map[string]chan struct{}{"/bad": make(chan struct{}), "/good": make(chan struct{})}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		came <- r.URL.Path
		<-gates[r.URL.Path]
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(srv.Close)
	return statefulroute.Pod{Name: name, Address: netip.MustParseAddrPort(srv.Listener.Addr().String()), Weight: 1}, came, func(path string) { close(gates[path]) }
}

// A pod moves while it is being probed. What the probe found at its old address
// says nothing about the pod: it is probed where it is now.
func TestAProbeOfAnOldAddressDoesNotCount(t *testing.T) {
	a, probed, letGo := heldPod(t, "a")
	b, _ := webPod(t, "b")
	moved, _ := webPod(t, "a")
	check := statefulroute.HealthCheck{HTTP: "/bad", Interval: time.Hour, Timeout: 30 * time.Second, UnhealthyAfter: 1, HealthyAfter: 1}
	p, found := startProber(t, check, a, b)
	p.Suspect(t.Context(), "chat", "a")
	<-probed
	model := testModel(moved, b)
	model.Services[0].Health = &check
	found.edit(func(m *state.Model) { *m = model })
	letGo("/bad")
	await(t, "a probe of the old address and one of the new", func() bool { return found.probes.Load() == 2 })
	if found.isDown("a") {
		t.Error("the pod is down for what was found where it was before")
	}
}

// The check is replaced while a pod is being probed by the old one.
func TestAProbeOfAnOldCheckDoesNotCount(t *testing.T) {
	a, probed, letGo := heldPod(t, "a")
	b, _ := webPod(t, "b")
	check := statefulroute.HealthCheck{HTTP: "/bad", Interval: time.Hour, Timeout: 30 * time.Second, UnhealthyAfter: 1, HealthyAfter: 1}
	p, found := startProber(t, check, a, b)
	p.Suspect(t.Context(), "chat", "a")
	<-probed
	model, other := testModel(a, b), check
	other.HTTP = "/good"
	model.Services[0].Health = &other
	found.edit(func(m *state.Model) { *m = model })
	p.Suspect(t.Context(), "chat", "a")
	if path := <-probed; path != "/good" {
		t.Fatalf("probed %s", path)
	}
	letGo("/bad")
	await(t, "the end of the old probe", func() bool { return found.probes.Load() == 1 })
	p.Suspect(t.Context(), "chat", "b") // the loop turns: it has the old result
	await(t, "a probe of b", func() bool { return found.probes.Load() == 2 })
	if found.isDown("a") {
		t.Error("the pod is down for what a check found that is no longer in force")
	}
	letGo("/good")
}
