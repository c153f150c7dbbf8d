package e2e

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
	"github.com/stateful-route/stateful-route/internal/redistest"
)

// The short form of TestFaults is a look at whether all of it works; `make fault-test` is the
// real thing.
var (
	faultSoak     = flag.Duration("faults", 0, "the long form of TestFaults, with so much time of rest at the end; 0 is the short form, which judges no time")
	faultRate     = flag.Int("faults.rate", 0, "requests a second of TestFaults; 0 is 500 in the long form and 60 in the short one")
	faultReplicas = flag.Int("faults.replicas", 0, "replicas of TestFaults; 0 is 3 in the long form and 2 in the short one")
	faultOnly     = flag.String("faults.only", "", "a regular expression: the faults of TestFaults whose names match")
)

// faultReport is where the table goes, beside the test's output.
const faultReport = "../out/fault-test.md"

// faultScale is what differs between the forms.
type faultScale struct {
	long                     bool
	replicas, sessions, rate int
	lease, soak              time.Duration
	messageTimeout           string
	// storeLoss is what chat's sessions do without a store. A machine that runs eight tests at
	// a time has claims time out, and sessions that a replica does not know would stray.
	storeLoss    string
	storeTimeout string // how long a request waits for the store
	// breaking is how long after a pod's kill a request may still be sent on a connection
	// whose end Envoy has not read yet.
	breaking time.Duration
}

func scaleOfFaults() faultScale {
	s := faultScale{
		replicas: 2, sessions: 24, rate: 60, lease: storeLease, messageTimeout: "8s",
		storeLoss: "deny", storeTimeout: "2s", breaking: 3 * time.Second,
	}
	if *faultSoak > 0 {
		s = faultScale{
			long: true, replicas: 3, sessions: 2000, rate: 500, lease: 3 * time.Second, soak: *faultSoak,
			messageTimeout: "2s", storeLoss: "allow", storeTimeout: "1s", breaking: 200 * time.Millisecond,
		}
	}
	s.rate, s.replicas = cmp.Or(*faultRate, s.rate), cmp.Or(*faultReplicas, s.replicas)
	return s
}

// Faults are made one after the other on a running whole, under load: no session leaves its
// pod but where the fault says so, and no request fails but those that it explains.
func TestFaults(t *testing.T) {
	t.Parallel()
	only, err := regexp.Compile(*faultOnly)
	if err != nil {
		t.Fatal(err)
	}
	r := startFaults(t, scaleOfFaults())
	defer r.report(time.Now())
	for _, f := range faults {
		if (r.scale.long || f.short) && only.MatchString(f.name) {
			r.make(f)
		}
	}
}

// report fails the test for what must not be. It says what was seen even where a fault could
// not be made to its end.
func (r *faultRun) report(began time.Time) {
	r.t.Helper()
	r.load.stop()
	text := r.text(time.Since(began))
	r.t.Log("\n" + text)
	if r.scale.long {
		if err := os.MkdirAll(filepath.Dir(faultReport), 0o755); err != nil {
			r.t.Error(err)
		}
		if err := os.WriteFile(faultReport, []byte(text), 0o644); err != nil {
			r.t.Error(err)
		}
	}
	for _, row := range r.rows {
		for _, miss := range row.missed {
			r.t.Errorf("%s: %s", row.name, miss)
		}
	}
}

// faultKind is one row of the table.
type faultKind struct {
	name  string
	short bool // it is part of the short form, too
	make  func(r *faultRun)
}

// faultRow is what came of a fault.
type faultRow struct {
	name    string
	took    time.Duration
	sums    faultSums
	figures []string // that this fault alone has
	missed  []string // what must not be
}

// faultRun makes faults. Everything that touches a process is in the test's own goroutine.
type faultRun struct {
	sharing
	t     *testing.T
	load  *faultLoad
	scale faultScale
	judge faultJudge
	rows  []faultRow

	row   *faultRow // under way
	rules []faultRule
	after []func(all []faultSeen, sums faultSums) // what is known when the row is judged
}

func startFaults(t *testing.T, scale faultScale) *faultRun {
	t.Helper()
	// It writes before it answers: only its machine's end would lose something.
	store := redistest.Start(t, "--appendonly", "yes")
	chat, strict, side := harness.Chat(3), harness.Chat(3), harness.Chat(2)
	chat.Session.OnExtprocLoss, chat.Session.OnStoreLoss = "allow", scale.storeLoss
	chat.Balancing = map[string]any{"slow_start": "3s"}
	strict.Session.OnExtprocLoss, strict.Session.OnStoreLoss = "deny", "deny"
	side.Session.OnExtprocLoss, side.Session.OnStoreLoss = "deny", "deny"
	services := []harness.Service{chat, named(strict, "strict"), named(side, "side")}
	for i := range services {
		services[i].Session.IdleTimeout = "2m"
		services[i].HealthCheck = map[string]any{"http": "/healthz", "interval": "500ms", "timeout": "500ms", "unhealthy_after": 2, "healthy_after": 1}
	}
	s := start(t, harness.Options{
		Services: services, Extprocs: make([]harness.Network, scale.replicas), MessageTimeout: scale.messageTimeout,
		// What the analyzer keeps is complete after two minutes: growth is then a leak.
		Analyzer: map[string]any{"history": 24},
		Store:    map[string]any{"valkey": map[string]any{"addresses": []string{store.Addr()}, "lease": scale.lease.String(), "timeout": scale.storeTimeout}},
	})
	r := &faultRun{sharing: sharing{s, store}, t: t, scale: scale, judge: faultJudge{map[string]home{}}}
	r.load = startFaultLoad(s, scale.sessions, scale.rate, !scale.long)
	t.Cleanup(r.load.stop)
	r.round()
	return r
}

// named gives a service, and its pods, another name than chat, and requests for its host alone.
func named(svc harness.Service, name string) harness.Service {
	svc.Name, svc.Match = name, map[string]any{"hosts": []string{name + ".test"}}
	for i := range svc.Pods.Static {
		svc.Pods.Static[i].Name = fmt.Sprintf("%s-%d", name, i)
	}
	return svc
}

// make makes a fault and judges what was seen meanwhile, and until all is well again.
func (r *faultRun) make(f faultKind) {
	r.t.Helper()
	r.row, r.rules, r.after = &faultRow{name: f.name}, nil, nil
	began := time.Now()
	if !r.scale.long { // a claim that took too long on a busy machine is no fault of what is tested
		r.excuse(refused, func(s faultSeen, _ string, _ time.Time) bool { return s.reason == "table-unavailable" })
	}
	unanswered := r.unanswered()
	f.make(r)
	r.round()
	r.row.took = time.Since(began)
	if n := r.unanswered() - unanswered; n > 0 {
		r.figure(true, "%.0f claims not answered", n)
	}
	all := r.load.take()
	sums := r.judge.judge(all, r.rules)
	r.row.sums = sums
	for _, after := range r.after {
		after(all, sums)
	}
	if sums.broken+sums.failed > 0 {
		r.must(false, "%d broken, %d failed; the first: %s", sums.broken, sums.failed, sums.first)
	}
	r.rows = append(r.rows, *r.row)
	r.t.Logf("%s: %v, %+v %v %v", f.name, r.row.took.Round(time.Millisecond), sums, r.row.figures, r.row.missed)
}

// unanswered is how many claims of the replicas that run the store did not answer, or not in
// time: what such sessions get is on_store_loss, whatever the fault.
func (r *faultRun) unanswered() (n float64) {
	for _, replica := range r.Replicas {
		// One that has none has no such metric.
		failed, err := harness.Metric(replica.Admin+"/metrics", "stateful_route_store_operations_total", `operation="claim"`, `result="error"`)
		if err == nil {
			n += failed
		}
	}
	return n
}

// excuse adds a rule for the fault under way; what it refers to may be set until its end.
func (r *faultRun) excuse(as excuse, is func(s faultSeen, owner string, last time.Time) bool) {
	r.rules = append(r.rules, faultRule{as, is})
}

// then is called when the fault is judged.
func (r *faultRun) then(f func(all []faultSeen, sums faultSums)) { r.after = append(r.after, f) }

// must notes what must hold in both forms.
func (r *faultRun) must(holds bool, format string, args ...any) {
	if !holds {
		r.row.missed = append(r.row.missed, fmt.Sprintf(format, args...))
	}
}

// figure notes a figure that the long form alone judges, since a busy machine makes it anything.
func (r *faultRun) figure(holds bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !holds {
		text = "**" + text + "**"
		r.must(!r.scale.long, "%s", text)
	}
	r.row.figures = append(r.row.figures, text)
}

// within is figure of a time.
func (r *faultRun) within(most time.Duration, took time.Duration, what string) {
	r.figure(took <= most, "%s: %s (≤ %s)", what, rounded(took), most)
}

func rounded(d time.Duration) time.Duration {
	if d < 100*time.Millisecond {
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(10 * time.Millisecond)
}

// lasts returns after so long: a fault's length is what it is.
func (r *faultRun) lasts(long, short time.Duration) {
	d := short
	if r.scale.long {
		d = long
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

func (r *faultRun) either(long, short int) int {
	if r.scale.long {
		return long
	}
	return short
}

// round returns when every steady session has sent a request, from beginning to end.
func (r *faultRun) round() {
	r.t.Helper()
	counts := r.load.counts()
	harness.Eventually(r.t, harness.Patience, "every session has sent another request", func() error {
		if n := r.load.since(counts); n < r.scale.sessions {
			return fmt.Errorf("%d of %d have", n, r.scale.sessions)
		}
		return nil
	})
}

// text is the table, in Markdown.
func (r *faultRun) text(took time.Duration) string {
	var b strings.Builder
	requests := 0
	for _, row := range r.rows {
		requests += row.sums.requests
	}
	fmt.Fprintf(&b, "%d requests in %v: %d replicas, %d requests a second, %d sessions and more that come and go, lease %v, the store waited for %s\n\n",
		requests, took.Round(time.Second), r.scale.replicas, r.scale.rate, r.scale.sessions, r.scale.lease, r.scale.storeTimeout)
	fmt.Fprintln(&b, "| fault | for | requests | broken | failed | excused | refused | astray | moved | p99 | figures |\n|---|---|---|---|---|---|---|---|---|---|---|")
	for _, row := range r.rows {
		s := row.sums
		fmt.Fprintf(&b, "| %s | %v | %d | %d | %d | %d | %d | %d | %d | %v | %s |\n", row.name, row.took.Round(100*time.Millisecond), s.requests,
			s.broken, s.failed, s.excused, s.refused, s.astray, s.moved, rounded(s.p99), strings.Join(row.figures, "; "))
	}
	fmt.Fprintln(&b, "\nBroken: served by another pod though the session's own could serve. Excused: failed on what was killed, or before a pod's death was known. "+
		"Refused: the 503 that the service `strict` asks for. Astray: an answer of another pod where nobody could know, which `allow` allows; the session stays bound as it was. "+
		"Moved: as the fault has it.")
	return b.String()
}
