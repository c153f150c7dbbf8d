package e2e

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/stateful-route/stateful-route/dashboards"
	"github.com/stateful-route/stateful-route/e2e/harness"
	"github.com/stateful-route/stateful-route/internal/redistest"
)

const rulesFile = "../dashboards/rules.yml"

// rule is one of the file of recording and alert rules.
type rule struct{ Record, Alert, Expr string }

func readRules(t *testing.T) []rule {
	t.Helper()
	text, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	var out []rule
	for _, g := range file.Groups {
		out = append(out, g.Rules...)
	}
	if len(out) < 15 {
		t.Fatalf("found %d rules", len(out))
	}
	return out
}

// eventful runs a stack through what the dashboard shows: sessions, a pod that
// fails requests and then its health checks, so that its sessions move, and a
// service without a pod that could take a session.
func eventful(t *testing.T) (*harness.Stack, *harness.Prometheus) {
	t.Helper()
	harness.Tool(t, "prometheus")
	check := map[string]any{"http": "/healthz", "interval": "500ms", "timeout": "400ms"}
	chat, spare := harness.Chat(3), harness.Service{
		Name: "spare", Match: map[string]any{"prefix": "/spare"}, HealthCheck: check,
		Session: harness.Session{Key: harness.AllSources()}, Pods: harness.Pods{Static: []harness.Pod{{Name: "spare-0"}}},
	}
	chat.HealthCheck, chat.Balancing = check, map[string]any{"strategy": "round_robin"}
	// Two replicas share their sessions: what both tell of must count once.
	server := redistest.Start(t)
	s := start(t, harness.Options{
		Services: []harness.Service{chat, spare}, Extprocs: []harness.Network{harness.TCP, harness.TCP},
		Store: map[string]any{"valkey": map[string]any{"addresses": []string{server.Addr()}}},
	})
	prometheus := s.StartPrometheus(t, rulesFile)
	keys := harness.Keys(12)
	for _, key := range keys[:len(keys)/2] { // on a busy machine the other pods may have got most of them
		if _, err := harness.Call(http.MethodPut, s.ExtprocAdmin+"/api/v1/sessions/chat/"+key, `{"pod": "chat-1"}`); err != nil {
			t.Fatal(err)
		}
	}
	s.Traffic(t, keys, 50*time.Millisecond)
	s.Order(t, "spare", "spare-0", "maintenance")
	harness.Eventually(t, harness.Patience, "requests for a service without pods are refused", func() error {
		a, err := s.Get(harness.InHeader("nobody"), harness.Path("/spare/x"))
		if err == nil && a.Status != http.StatusServiceUnavailable {
			err = fmt.Errorf("status %d", a.Status)
		}
		return err
	})
	s.Misbehave(t, "chat-1", `{"fail":0.5}`)
	// Once its health is gone it gets no more requests: what Prometheus has not
	// seen increase by then never will.
	for _, rate := range []string{
		`rate(stateful_route_request_errors_total{pod="chat-1", kind="upstream"}[5m]) > 0`,
		`rate(stateful_route_requests_total{pod="chat-1", code="2xx"}[5m]) > 0`,
		`rate(stateful_route_requests_total{pod="chat-1", code="5xx"}[5m]) > 0`,
	} {
		harness.Eventually(t, harness.Patience, "Prometheus sees "+rate, func() error { return hasData(prometheus, rate) })
	}
	s.Misbehave(t, "chat-1", `{"healthz":"fail"}`)
	harness.Eventually(t, harness.Patience, "the pod's sessions move", func() error {
		for _, r := range s.Replicas {
			if n, err := harness.Metric(r.Admin+"/metrics", "stateful_route_sessions_rebound_total", `reason="unhealthy"`); err != nil || n > 0 {
				return err
			}
		}
		return errNotYet
	})
	return s, prometheus
}

// comparison is the operator of an alert: what is left of it has data also when
// all is well.
var comparison = regexp.MustCompile(`\s(>=|<=|==|>|<)\s`)

func TestPrometheusAnswersEveryQueryOfDashboardAndAlerts(t *testing.T) {
	t.Parallel()
	s, prometheus := eventful(t)
	for _, expr := range dashboards.Queries(".*") {
		harness.Eventually(t, harness.Patience, "data for the panel "+expr, func() error { return hasData(prometheus, expr) })
	}
	countedOnce(t, prometheus)
	for _, r := range readRules(t) {
		if r.Record != "" {
			harness.Eventually(t, harness.Patience, "data for "+r.Record, func() error { return hasData(prometheus, r.Record) })
			continue
		}
		checkAlert(t, s, prometheus, r)
	}
	unseen(t, s, prometheus)
	broken, err := prometheus.BrokenRules()
	if err != nil || len(broken) > 0 {
		t.Errorf("rules: %v %v", broken, err)
	}
	for name, urls := range s.MetricURLs() {
		for _, complaint := range harness.Lint(t, urls[0]) {
			if name != "envoy" || !envoysStyle.MatchString(complaint) {
				t.Errorf("promtool on %s: %s", name, complaint)
			}
		}
	}
}

// unseen has Envoy let requests pass, which its own counter alone tells of.
func unseen(t *testing.T, s *harness.Stack, p *harness.Prometheus) {
	t.Helper()
	rules := readRules(t)
	i := slices.IndexFunc(rules, func(r rule) bool { return r.Alert == "StatefulRouteUnseenRequests" })
	for _, r := range s.Replicas {
		r.Kill(t)
	}
	harness.Eventually(t, harness.Patience, "the alert sees requests that passed without extproc", func() error {
		if _, err := s.OK(harness.InHeader("passing")); err != nil {
			return err
		}
		return hasData(p, rules[i].Expr)
	})
	for _, r := range s.Replicas {
		r.Start(t)
	}
	s.WaitReady(t)
}

// countedOnce has the panels add up the sessions of a shared store to as many as there are.
func countedOnce(t *testing.T, p *harness.Prometheus) {
	t.Helper()
	const expr = `sum(stateful_route_pod_sessions{service="chat"})`
	harness.Eventually(t, harness.Patience, "the 12 sessions are counted once", func() error {
		found, err := p.Query(expr)
		if err == nil && (len(found) != 1 || found[0].Value != 12) {
			err = fmt.Errorf("%s is %v", expr, found)
		}
		return err
	})
}

// envoysStyle is what promtool says of how Envoy names its own metrics. All else,
// such as a line that cannot be read, would be a fault.
var envoysStyle = regexp.MustCompile(`^envoy_\w+ (no help text|counter metrics should have "_total" suffix|` +
	`non-counter metrics should not have "_total" suffix|non-histogram and non-summary metrics should not have "_(count|sum|bucket)" suffix|` +
	`metric names should not contain abbreviated units|use base unit "\w+" instead of "\w+")$`)

// checkAlert has the alerts about what was done on purpose have a series. One
// that has none must have none because nothing is past its threshold, and not
// because nothing is looked at: what it compares has data.
func checkAlert(t *testing.T, s *harness.Stack, p *harness.Prometheus, r rule) {
	t.Helper()
	if onPurpose[r.Alert] {
		// What was done goes on. An alert on the most part of two minutes needs as
		// much of them as came before.
		harness.Eventually(t, 4*harness.Patience, "alert "+r.Alert+" sees what was done", func() error {
			if _, err := s.Get(harness.InHeader("nobody"), harness.Path("/spare/x")); err != nil {
				return err
			}
			return hasData(p, r.Expr)
		})
		return
	}
	if notHere[r.Alert] {
		return
	}
	operand := r.Expr[:comparison.FindStringIndex(r.Expr)[0]]
	harness.Eventually(t, harness.Patience, "data for what alert "+r.Alert+" compares", func() error { return hasData(p, operand) })
	series, err := p.Query(r.Expr)
	if err != nil {
		t.Errorf("alert %s: %v", r.Alert, err)
	}
	if len(series) > 0 && never[r.Alert] {
		t.Errorf("alert %s sees %v", r.Alert, series)
	}
}

var (
	// onPurpose are the alerts about what the stack is put through.
	onPurpose = map[string]bool{"StatefulRouteNoPods": true, "StatefulRouteSessionsMoving": true, "StatefulRoutePodUnhealthy": true}
	// notHere are those about what the stack has not: the rules' own tests have them fire.
	notHere = map[string]bool{"StatefulRouteCertificateExpires": true}
	// never are those about what did not happen. The others depend on how many
	// requests failed before the pod's sessions left it.
	never = map[string]bool{
		"StatefulRouteMisroute": true, "StatefulRouteDown": true, "StatefulRouteNoLease": true, "StatefulRouteStoreConflicts": true, "StatefulRouteSlowPod": true,
		"StatefulRouteChangeRefused": true, "StatefulRouteConfigRefused": true, "StatefulRouteNotPersisted": true,
	}
)

func hasData(p *harness.Prometheus, expr string) error {
	series, err := p.Query(expr)
	if err == nil && len(series) == 0 {
		err = fmt.Errorf("no data: %s", strings.Join(strings.Fields(expr), " "))
	}
	return err
}
