package e2e

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// faultTime is how long TestFaults takes, and faultRate how many requests a second
// it sends. The default is a look at whether all of it works; `make fault-test` is
// the real thing.
var (
	faultTime = flag.Duration("faults", 0, "how long TestFaults breaks things; 0 is 12s, in which nothing is judged that needs longer")
	faultRate = flag.Int("faults.rate", 200, "requests a second of TestFaults")
)

// faultReport is where the table goes, beside the test's output.
const faultReport = "../out/fault-test.txt"

// faultPlan is when what is broken, from the beginning of a period on.
type faultPlan struct {
	length, period time.Duration
	kill, back     time.Duration // of a pod
	extproc, xds   time.Duration
}

func planFaults(length time.Duration) faultPlan {
	period := time.Minute
	if length == 0 {
		length, period = 12*time.Second, 12*time.Second
	}
	return faultPlan{length, period, period / 12, period / 4, period * 5 / 12, period * 3 / 4}
}

// A pod is killed, extproc and xds-server are restarted, in turn, under load: no
// session moves but those of the killed pod, no request fails but those that were
// on it, and no program grows.
func TestFaults(t *testing.T) {
	t.Parallel()
	plan := planFaults(*faultTime)
	svc := harness.Chat(3)
	svc.HealthCheck = map[string]any{"http": "/healthz", "interval": "500ms", "timeout": "500ms", "unhealthy_after": 2, "healthy_after": 1}
	s := start(t, harness.Options{Services: []harness.Service{svc}})
	rate := *faultRate
	if *faultTime == 0 {
		rate = 50
	}
	load := startFaultLoad(s, rate)
	run := &faultRun{s: s, load: load}
	run.drive(t, plan)
	load.stop()
	verdict := judgeFaults(load, run.events, run.usage, *faultTime > 0)
	text := verdict.text(plan, load)
	t.Log("\n" + text)
	if err := os.MkdirAll(filepath.Dir(faultReport), 0o755); err != nil {
		t.Fatal(err)
	}
	if *faultTime > 0 {
		if err := os.WriteFile(faultReport, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, fault := range verdict.faults(*faultTime > 0) {
		t.Error(fault)
	}
	if done := len(run.events); done < 3 {
		t.Errorf("%d events", done)
	}
}

// faultRun breaks things. Everything that touches a process is in the test's own
// goroutine.
type faultRun struct {
	s      *harness.Stack
	load   *faultLoad
	events []faultEvent
	usage  map[string][]harness.Usage // by program
}

// faultEvent is one thing that was done to the stack.
type faultEvent struct {
	What string
	Pod  string    // that was killed
	At   time.Time // the order: a pod is dead from then on
	Over time.Time // it is ready again
}

func (r *faultRun) drive(t *testing.T, plan faultPlan) {
	t.Helper()
	r.usage = map[string][]harness.Usage{}
	steps := []struct {
		at time.Duration
		do func(period int)
	}{
		{plan.kill, func(period int) { r.killPod(t, fmt.Sprintf("chat-%d", period%3)) }},
		{plan.back, func(period int) { r.startPod(t, fmt.Sprintf("chat-%d", period%3)) }},
		{plan.extproc, func(int) { r.restart(t, "extproc", r.s.Extproc) }},
		{plan.xds, func(int) { r.restart(t, "xds-server", r.s.XDS) }},
	}
	began := time.Now()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	next, sampled := 0, began
	for now := began; now.Sub(began) < plan.length; now = <-tick.C {
		period, step := next/len(steps), steps[next%len(steps)]
		if now.Sub(began) >= time.Duration(period)*plan.period+step.at {
			step.do(period)
			next++
		}
		if now.Sub(sampled) >= time.Second {
			sampled = now
			r.sample(t)
		}
	}
}

func (r *faultRun) killPod(t *testing.T, pod string) {
	t.Helper()
	at := time.Now()
	r.s.Pods[pod].Kill(t)
	r.events = append(r.events, faultEvent{What: "kill of " + pod, Pod: pod, At: at})
}

func (r *faultRun) startPod(t *testing.T, pod string) {
	t.Helper()
	r.s.Pods[pod].Start(t)
	harness.Eventually(t, harness.Patience, "the pod is back", r.s.InState("chat", pod, "ready"))
	r.events[len(r.events)-1].Over = time.Now()
}

func (r *faultRun) restart(t *testing.T, name string, p *harness.Process) {
	t.Helper()
	e := faultEvent{What: "restart of " + name, At: time.Now()}
	p.Stop(t)
	if code := p.ExitCode(); code != 0 {
		t.Errorf("%s ended with exit code %d", name, code)
	}
	p.Start(t)
	r.s.WaitReady(t)
	e.Over = time.Now()
	r.events = append(r.events, e)
}

func (r *faultRun) sample(t *testing.T) {
	t.Helper()
	for name, p := range map[string]*harness.Process{"xds-server": r.s.XDS, "extproc": r.s.Extproc} {
		admin := r.s.XDSAdmin
		if name == "extproc" {
			admin = r.s.ExtprocAdmin
		}
		u, err := p.Usage(admin + "/metrics")
		if err != nil {
			t.Errorf("what %s holds: %v", name, err)
			continue
		}
		r.usage[name] = append(r.usage[name], u)
	}
}
