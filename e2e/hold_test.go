package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// holdTime is how long TestHeldAndDrainedAround holds what it opens. The default is a
// look at whether all of it works; `make hold-test` is the real thing.
var holdTime = flag.Duration("hold", 0, "how long TestHeldAndDrainedAround holds its streams; 0 is 6s, with an idle timeout of 2s instead of 5s and an upload of 4 MB instead of 100")

// holdReport is where the table goes, beside the test's output.
const holdReport = "../out/hold-test.txt"

// holdPlan is what is held for how long.
type holdPlan struct {
	length, idle, tick time.Duration
	upload             int // bytes
}

func planHold(length time.Duration) holdPlan {
	if length == 0 {
		return holdPlan{6 * time.Second, 2 * time.Second, 250 * time.Millisecond, 4e6}
	}
	return holdPlan{length, 5 * time.Second, time.Second, 100e6}
}

// A WebSocket, an event stream, a gRPC stream and an upload are held for many times the
// idle timeout while their pods drain: none moves or ends, no new session comes to their
// pods, and whoever waits for a pod to be empty waits until they have ended.
func TestHeldAndDrainedAround(t *testing.T) {
	t.Parallel()
	run := newHoldRun(t, planHold(*holdTime))
	run.open(t)
	run.addOthers(t)
	run.drain(t)
	run.watch(t)
	run.end(t)
	text := run.text()
	t.Log("\n" + text)
	if *holdTime > 0 {
		if err := errors.Join(os.MkdirAll(filepath.Dir(holdReport), 0o755), os.WriteFile(holdReport, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
}

// holdRun has one session of each kind of held, each on a pod of its own that drains.
type holdRun struct {
	plan     holdPlan
	s        *harness.Stack
	client   *holdClients
	held     []*held
	others   []*other
	drains   map[string]*harness.Process // by pod
	load     [2]string                   // of the machine, at the beginning and at the end
	newcomer map[string]int              // new sessions meanwhile, by pod
	answers  int                         // of the others
}

// other is a session that comes again and again, on a pod that drains.
type other struct {
	key, pod string
	ask      func(key string) (pod string, err error)
	last     time.Time // when its last request that was answered began
}

func newHoldRun(t *testing.T, plan holdPlan) *holdRun {
	t.Helper()
	chat, rooms := roundRobin(4), roundRobin(2)
	rooms.Name, rooms.Match = "rooms", map[string]any{"prefix": "/rooms.Rooms"}
	rooms.HealthCheck = map[string]any{"grpc": ""}
	chat.Session.IdleTimeout, rooms.Session.IdleTimeout = plan.idle.String(), plan.idle.String()
	for i := range chat.Pods.Static {
		chat.Pods.Static[i].Address = heldPod(t, chat.Pods.Static[i].Name, plan.tick)
	}
	for i := range rooms.Pods.Static {
		pod := &rooms.Pods.Static[i]
		pod.Name = fmt.Sprintf("rooms-%d", i)
		pod.Address, _ = grpcPod(t, pod.Name)
	}
	s := start(t, harness.Options{Services: []harness.Service{chat, rooms}, Affinity: map[string]any{"cleanup_interval": "100ms"}})
	r := &holdRun{plan: plan, s: s, client: newHoldClients(t, s, plan), drains: map[string]*harness.Process{}, newcomer: map[string]int{}}
	r.load[0] = loadAverage()
	return r
}

// open opens one after the other, so that each is on another pod.
func (r *holdRun) open(t *testing.T) {
	t.Helper()
	for _, kind := range []string{"WebSocket", "event stream", "upload", "gRPC stream"} {
		h := r.client.open(t, kind)
		harness.Eventually(t, harness.Patience, "the "+kind+" is in use", func() error {
			sessions, err := shownSessions(r.s)
			if h.first = sessions[h.key]; err == nil && h.first.InFlight != 1 {
				err = fmt.Errorf("%+v", h.first)
			}
			return err
		})
		h.leastInFlight = h.first.InFlight
		r.held = append(r.held, h)
	}
}

func (r *holdRun) addOthers(t *testing.T) {
	t.Helper()
	for i := range 12 {
		ask := r.askChat
		if i >= 8 {
			ask = r.askRooms(t)
		}
		o := &other{key: fmt.Sprint("other-", i), ask: ask, last: time.Now()}
		var err error
		if o.pod, err = ask(o.key); err != nil {
			t.Fatal(err)
		}
		r.others = append(r.others, o)
	}
}

func (r *holdRun) askChat(key string) (pod string, err error) {
	a, err := r.s.OK(harness.InHeader(key))
	return a.Pod, err
}

func (r *holdRun) askRooms(t *testing.T) func(key string) (pod string, err error) {
	return func(key string) (string, error) { return call(t, r.client.rooms, key, "hello") }
}

// drain drains the pods of all that is held.
func (r *holdRun) drain(t *testing.T) {
	t.Helper()
	for _, h := range r.held {
		if r.drains[h.first.Pod] == nil {
			r.drains[h.first.Pod] = r.s.Routectl(t, "pods", "drain", h.service, h.first.Pod, "--wait")
			harness.Eventually(t, harness.Patience, h.first.Pod+" drains", r.s.InState(h.service, h.first.Pod, "draining"))
		}
	}
	if len(r.drains) != len(r.held) {
		t.Fatalf("%d of %d streams have a pod of their own", len(r.drains), len(r.held))
	}
	r.s.WaitClients(t)
}

// watch looks at all of it until the time is over. For the first half there are other
// sessions on the pods that drain; from then on what is held is all that keeps them.
func (r *holdRun) watch(t *testing.T) {
	t.Helper()
	began := time.Now()
	tick := time.NewTicker(r.plan.tick)
	defer tick.Stop()
	for n, now := 0, began; now.Sub(began) < r.plan.length; n, now = n+1, <-tick.C {
		for _, ask := range []func(string) (string, error){r.askChat, r.askRooms(t)} {
			pod, err := ask(fmt.Sprint("new-", n))
			if err != nil || r.drains[pod] != nil {
				t.Errorf("a new session went to %q, %v", pod, err)
			}
			r.newcomer[pod]++
		}
		if now.Sub(began) < r.plan.length/2 {
			r.askOthers(t)
		}
		r.look(t)
		if t.Failed() {
			t.FailNow()
		}
	}
}

// askOthers judges no session that may have been idle for too long on a slow machine.
func (r *holdRun) askOthers(t *testing.T) {
	t.Helper()
	for _, o := range r.others {
		began := time.Now()
		pod, err := o.ask(o.key)
		switch {
		case err != nil:
			t.Errorf("%s of %s: %v", o.key, o.pod, err)
		case time.Since(o.last) < r.plan.idle && pod != o.pod:
			t.Errorf("%s moved from %s to %s", o.key, o.pod, pod)
		}
		o.pod, o.last = pod, began
		r.answers++
	}
}

// look sees that all that is held is as it was.
func (r *holdRun) look(t *testing.T) {
	t.Helper()
	sessions, err := shownSessions(r.s)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range r.held {
		now := sessions[h.key]
		if now.InFlight < 1 || now.Pod != h.first.Pod || !now.Created.Equal(h.first.Created) {
			t.Errorf("the %s was %+v and is %+v", h.kind, h.first, now)
		}
		h.leastInFlight = min(h.leastInFlight, now.InFlight)
		h.looks++
		if drain := r.drains[h.first.Pod]; !drain.Running() {
			t.Errorf("nobody waits for the %s on %s: %s", h.kind, h.first.Pod, drain.Log(t))
		}
	}
}

// aloneOnTheirPods waits until the others on the pods that drain have expired.
func (r *holdRun) aloneOnTheirPods(t *testing.T) {
	t.Helper()
	harness.Eventually(t, harness.Patience, "nothing but what is held keeps its pod", func() error {
		sessions, err := shownSessions(r.s)
		for key, one := range sessions {
			if r.drains[one.Pod] != nil && !strings.HasPrefix(key, "held-") {
				err = fmt.Errorf("%+v", one)
			}
		}
		return err
	})
	r.look(t)
}

// end lets all end that is held, and waits until nothing of it is left.
func (r *holdRun) end(t *testing.T) {
	t.Helper()
	r.aloneOnTheirPods(t)
	r.client.stop()
	for _, h := range r.held {
		h.outcome = <-h.done
		if h.err != nil || h.pod != h.first.Pod {
			t.Errorf("the %s of %s ended at %q: %v", h.kind, h.first.Pod, h.pod, h.err)
		}
		// Its session is kept for the idle timeout from here on.
		if drain := r.drains[h.first.Pod]; time.Since(h.at) < r.plan.idle && !drain.Running() {
			t.Errorf("nobody waited until the session of the %s had expired: %s", h.kind, drain.Log(t))
		}
	}
	for _, h := range r.held {
		if code := r.drains[h.first.Pod].ExitCode(); code != 0 {
			t.Errorf("routectl ended with %d: %s", code, r.drains[h.first.Pod].Log(t))
		}
		h.empty = time.Since(h.at)
	}
	harness.Eventually(t, harness.Patience, "the sessions have expired", func() error {
		sessions, err := shownSessions(r.s)
		for _, h := range r.held {
			if one, ok := sessions[h.key]; ok {
				err = fmt.Errorf("%+v", one)
			}
		}
		return err
	})
	for _, name := range []string{"stateful_route_misroutes_total", "stateful_route_sessions_rebound_total"} {
		// A series begins when there is something to count.
		if n, err := harness.Metric(r.s.ExtprocAdmin+"/metrics", name); err == nil && n != 0 || err != nil && !errors.Is(err, harness.ErrNoMetric) {
			t.Errorf("%s: %v, %v", name, n, err)
		}
	}
	r.load[1] = loadAverage()
}

// text is the table.
func (r *holdRun) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "held for %v with an idle timeout of %v; the machine's load %s at the beginning, %s at the end\n\n", r.plan.length, r.plan.idle, r.load[0], r.load[1])
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "held\tpod\tfor\tcarried\tin flight, at least\tlooks\tdrain --wait returned after its end")
	for _, h := range r.held {
		fmt.Fprintf(w, "%s\t%s\t%v\t%s\t%d\t%d\t%.1fs\n", h.kind, h.first.Pod, h.at.Sub(h.began).Round(time.Second), h.carried, h.leastInFlight, h.looks, h.empty.Seconds())
	}
	w.Flush()
	fmt.Fprintf(&b, "\nA look: the session is listed, in flight, on its pod, bound since the same instant, and its pod's drain waits.\n"+
		"Meanwhile %d requests of %d other sessions, most on the pods that drain, none moved; new sessions by pod: %v.\n", r.answers, len(r.others), r.newcomer)
	return b.String()
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
