package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// burstAtOnce is how many requests of a burst are on their way at a time.
const burstAtOnce = 16

func (r *faultRun) killPod() {
	const pod = "chat-1"
	keys := harness.Keys(r.either(30_000, 120))
	first := r.load.burst("chat", keys, burstAtOnce)
	var lost, others []string
	for _, key := range keys {
		switch s := first[key]; s.pod {
		case "":
			r.must(false, "a first request: %s", s.failure)
		case pod:
			lost = append(lost, key)
		default:
			others = append(others, key)
		}
	}
	at := time.Now()
	r.Pods[pod].Kill(r.t)
	harness.Eventually(r.t, harness.Patience, "the pod is unhealthy", r.InState("chat", pod, "unhealthy"))
	r.WaitClients(r.t)
	known := time.Now()
	r.rules = append(r.rules, killed(pod, at, known, r.scale.breaking)...)
	// Between the rebinds ordinary first requests are sent: whatever the machine is busy with
	// slows both.
	mixed := make([]string, 0, 2*len(lost))
	for i, key := range harness.Keys(len(lost)) {
		mixed = append(mixed, lost[i], key)
	}
	rebound := r.load.burst("chat", mixed, burstAtOnce)
	again := r.load.burst("chat", lost, burstAtOnce)
	twice, failed := 0, 0
	var took, base []time.Duration // of the first second
	for i, key := range mixed {
		a := rebound[key]
		early := a.began.Before(known.Add(time.Second))
		switch b := again[key]; {
		case !r.scale.long && (a.reason == "table-unavailable" || b.reason == "table-unavailable"):
			continue // a claim took too long on a busy machine, see make
		case i%2 == 1:
			if early {
				base = append(base, a.took())
			}
			continue
		case a.failure != "" || b.failure != "":
			failed++
		case a.pod != b.pod || a.pod == pod:
			twice++
		}
		if early {
			took = append(took, a.took())
		}
	}
	r.must(twice == 0 && failed == 0, "of %d sessions of the pod %d moved twice, %d failed", len(lost), twice, failed)
	left := 0
	for key, s := range r.load.burst("chat", others, burstAtOnce) {
		if s.pod != first[key].pod {
			left++
		}
	}
	r.must(left == 0, "%d of %d sessions of other pods left them", left, len(others))
	p99, ordinary := quantile(took, 99), quantile(base, 99)
	r.figure(true, "%d sessions rebound once, %d others stayed", len(lost), len(others))
	r.figure(p99 <= 2*ordinary, "p99 of the %d rebinds of the first second %v, of %d ordinary first requests between them %v (≤ 2×)",
		len(took), rounded(p99), len(base), rounded(ordinary))
	r.Pods[pod].Start(r.t)
	harness.Eventually(r.t, harness.Patience, "the pod is back", r.InState("chat", pod, "ready"))
	r.WaitClients(r.t)
}

// flap has two pods fail and pass their checks in turn, each changing once a second.
func (r *faultRun) flap() {
	began := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for i := range r.either(60, 6) {
		first, second := "fail", "ok"
		if i%2 == 1 {
			first, second = second, first
		}
		r.Misbehave(r.t, "chat-1", fmt.Sprintf(`{"healthz":%q}`, first))
		r.Misbehave(r.t, "chat-2", fmt.Sprintf(`{"healthz":%q}`, second))
		<-tick.C
	}
	for _, pod := range []string{"chat-1", "chat-2"} {
		r.Misbehave(r.t, pod, `{"healthz":"ok"}`)
	}
	for _, pod := range []string{"chat-1", "chat-2"} {
		harness.Eventually(r.t, harness.Patience, "the pod is ready", r.InState("chat", pod, "ready"))
	}
	r.WaitClients(r.t)
	r.excuse(moved, func(s faultSeen, owner string, _ time.Time) bool {
		return (owner == "chat-1" || owner == "chat-2") && s.ended.After(began)
	})
	r.then(func(_ []faultSeen, sums faultSums) {
		r.must(sums.mostMoves <= 2, "a session moved %d times (≤ 2)", sums.mostMoves)
		r.figure(true, "≤ %d rebinds of a session (≤ 2)", sums.mostMoves)
	})
}

// scale4 adds a pod, and looks at where new sessions go, 200 a second.
func (r *faultRun) scale4() {
	began := time.Now()
	r.Change(r.t, func(c *harness.Config) { addPod(c, "chat-3") })
	r.within(5*time.Second, time.Since(began), "Envoy has it after")
	added := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	on, all := map[int]int{}, map[int]int{} // by second
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range r.either(2000, 100) {
		<-tick.C
		second := int(time.Since(added).Seconds())
		wg.Go(func() {
			s := r.load.ask("chat", harness.Keys(1)[0])
			mu.Lock()
			defer mu.Unlock()
			if all[second]++; s.pod == "chat-3" {
				on[second]++
			}
		})
	}
	wg.Wait()
	share := func(from, to int) float64 {
		a, n := 0, 0
		for i := from; i < to; i++ {
			a, n = a+all[i], n+on[i]
		}
		return 100 * float64(n) / float64(max(a, 1)) / 25 * 100
	}
	r.figure(true, "share of its quarter of new sessions in seconds 1–2: %.0f %%, 3–5: %.0f %%", share(0, 2), share(2, 5))
	last := share(5, 8)
	r.figure(last >= 80, "6–8: %.0f %% (≥ 80)", last)
}

func addPod(c *harness.Config, name string) {
	pods := &c.Services[0].Pods
	pods.Static = append(pods.Static, harness.Pod{Name: name, Weight: 1})
}

// spread binds sessions of the service side, and has all replicas know them.
func (r *faultRun) spread(n int) (keys []string, pods map[string]string) {
	keys, pods = harness.Keys(n), map[string]string{}
	for range 10 {
		for key, s := range r.load.burst("side", keys, burstAtOnce) {
			r.must(s.failure == "", "a request of the service side: %s", s.failure)
			if was, ok := pods[key]; ok && was != s.pod {
				r.must(false, "a session of the service side was on %s and %s", was, s.pod)
			}
			pods[key] = s.pod
		}
	}
	return keys, pods
}

func (r *faultRun) drain() {
	const pod = "side-0"
	keys, pods := r.spread(r.either(100, 12))
	waits := r.Routectl(r.t, "pods", "drain", "side", pod, "--wait")
	harness.Eventually(r.t, harness.Patience, "the pod drains", r.InState("side", pod, "draining"))
	r.WaitClients(r.t)
	for _, s := range r.load.burst("side", harness.Keys(r.either(300, 30)), burstAtOnce) {
		r.must(s.pod == "side-1", "a new session is on %q: %s", s.pod, s.failure)
	}
	for key, s := range r.load.burst("side", keys, burstAtOnce) {
		r.must(s.pod == pods[key], "a session of %s is on %q: %s", pods[key], s.pod, s.failure)
	}
	var bound []string // those of earlier faults as well
	for key, on := range bindingsAt(r.t, r.Replicas[0].Admin, "side") {
		if on == pod {
			bound = append(bound, key)
		}
	}
	r.must(len(bound) > 0, "no session is on the pod that drains")
	for i, key := range bound {
		r.must(waits.Running(), "drain --wait returned though %d sessions were left", len(bound)-i)
		if _, err := harness.Call(http.MethodDelete, r.Replicas[i%len(r.Replicas)].Admin+"/api/v1/sessions/side/"+key, ""); err != nil {
			r.must(false, "a session of the drained pod: %v", err)
		}
	}
	r.must(waits.ExitCode() == 0, "drain --wait ended with exit code %d: %s", waits.ExitCode(), strings.TrimSpace(waits.Log(r.t)))
	r.figure(true, "%d sessions ended through all replicas, then `drain --wait` returned", len(bound))
	r.Order(r.t, "side", pod, "ready")
	r.WaitClients(r.t)
}

func (r *faultRun) moveThrough(replica harness.Replica, key, to string) {
	r.t.Helper()
	if _, err := harness.Call(http.MethodPut, replica.Admin+"/api/v1/sessions/side/"+key, `{"pod": "`+to+`"}`); err != nil {
		r.must(false, "a move: %v", err)
	}
}

// moveSessions moves sessions through each replica in turn, and sends requests as soon as
// each call has returned.
func (r *faultRun) moveSessions() {
	keys, pods := r.spread(r.either(50, 5))
	other := map[string]string{"side-0": "side-1", "side-1": "side-0"}
	var took []time.Duration
	elsewhere := 0
	for i := range 4 {
		for _, key := range keys {
			began := time.Now()
			pods[key] = other[pods[key]]
			r.moveThrough(r.Replicas[i%len(r.Replicas)], key, pods[key])
			took = append(took, time.Since(began))
			var wg sync.WaitGroup
			found := make([]faultSeen, 6)
			for i := range found {
				wg.Go(func() { found[i] = r.load.ask("side", key) })
			}
			wg.Wait()
			for _, s := range found {
				if s.pod != pods[key] {
					elsewhere++
				}
			}
		}
	}
	r.must(elsewhere == 0, "%d of %d requests after a move were not served by the new pod", elsewhere, 6*len(took))
	r.figure(true, "%d moves, p99 %v; %d requests after them, all on the new pod", len(took), rounded(quantile(took, 99)), 6*len(took))
}

func (r *faultRun) xdsAway() {
	r.XDS.Kill(r.t)
	r.lasts(280*time.Second, time.Second)
	for range r.either(10, 2) {
		r.XDS.Start(r.t)
		r.lasts(time.Second, 100*time.Millisecond)
		r.XDS.Kill(r.t)
		r.lasts(time.Second, 0)
	}
	began := time.Now()
	r.Edit(r.t, func(c *harness.Config) {
		addPod(c, "chat-4")
		pods := &c.Services[0].Pods
		pods.Static = harness.RemovePod(pods.Static, "chat-3")
	})
	r.XDS.Start(r.t)
	r.WaitPods(r.t)
	r.WaitClients(r.t)
	r.within(5*time.Second, time.Since(began), "converged after")
	r.WaitReady(r.t)
	r.excuse(moved, func(s faultSeen, owner string, _ time.Time) bool { return owner == "chat-3" && s.ended.After(began) })
	r.XDS.Stop(r.t)
	r.must(r.XDS.ExitCode() == 0, "xds-server ended with exit code %d", r.XDS.ExitCode())
	r.XDS.Start(r.t)
	r.WaitReady(r.t)
}

// rest breaks nothing and looks at what programs hold.
func (r *faultRun) rest() {
	type program struct {
		*harness.Process
		admin string
		held  []holding
	}
	programs := []*program{{Process: r.XDS, admin: r.XDSAdmin}}
	for _, replica := range r.Replicas {
		programs = append(programs, &program{Process: replica.Process, admin: replica.Admin})
	}
	began := time.Now()
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for now := began; now.Sub(began) < r.scale.soak; now = <-tick.C {
		for _, p := range programs {
			h, err := hold(p.Process, p.admin, now.Sub(began))
			if err != nil {
				r.must(false, "what %s holds: %v", p.Name, err)
				return
			}
			p.held = append(p.held, h)
		}
	}
	for _, p := range programs {
		g := grown(p.held)
		r.figure(g.flat(), "%s: %v", p.Name, g)
	}
}
