package dashboards

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/insight/metrics"
)

type rulesFile struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []struct {
			Record      string            `yaml:"record"`
			Alert       string            `yaml:"alert"`
			Expr        string            `yaml:"expr"`
			Labels      map[string]string `yaml:"labels"`
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

func readRules(t *testing.T) rulesFile {
	t.Helper()
	text, err := os.ReadFile("rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var rules rulesFile
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	return rules
}

func TestDashboardFileIsWhatTheCodeBuilds(t *testing.T) {
	built, err := Build()
	if err != nil {
		t.Fatal(err)
	}
	want, err := json.MarshalIndent(built, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("stateful-route.json")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(got), want) {
		t.Error("stateful-route.json is out of date: go generate ./dashboards")
	}
}

func TestPanelsDoNotOverlap(t *testing.T) {
	text, err := os.ReadFile("stateful-route.json")
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	cells, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("panel id %d is used twice", p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q overlaps %q, or leaves the grid, at %d, %d", p.Title, other, x, y)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
	}
	if len(board.Panels) < 30 {
		t.Errorf("only %d panels", len(board.Panels))
	}
}

// served returns the names that a query can use: those a Monitor serves once
// everything has happened, the recorded ones, and those of other programs.
func served(t *testing.T) map[string]bool {
	t.Helper()
	m, err := metrics.NewMonitor(metrics.MonitorOptions{Process: "test"})
	if err != nil {
		t.Fatal(err)
	}
	s := m.Service("chat")
	s.TableMiss()
	s.Selected("chat-0", time.Microsecond, true)
	s.Request("chat-0", "GET", 500, time.Millisecond, "")
	s.PodWeight("chat-0", 1)
	s.PodSessions("chat-0", 1)
	s.HealthCheck("chat-0", time.Millisecond, false)
	m.XDSPush("EDS", time.Millisecond)
	m.AnalysisIssues(nil)
	m.ConfigReload(true)
	m.Persistence().Report("bindings", nil)
	if err := m.TableStats(func() metrics.TableStats {
		return metrics.TableStats{Evictions: map[string]uint64{"capacity": 1}}
	}); err != nil {
		t.Fatal(err)
	}
	if err := m.PodSources([]string{"good"}, func() (map[string]int, time.Duration) { return nil, 0 }); err != nil {
		t.Fatal(err)
	}
	if err := m.Certificates(func() (map[string]time.Time, bool) { return map[string]time.Time{"a.pem": {}}, true }); err != nil {
		t.Fatal(err)
	}
	store, err := m.SharedStore(func() time.Duration { return time.Second })
	if err != nil {
		t.Fatal(err)
	}
	store.Operation("claim", time.Millisecond, nil)
	store.Service("chat")
	values, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{"up": true, "envoy_http_downstream_rq_xx": true, "envoy_http_downstream_rq_time_bucket": true, "envoy_cluster_membership_healthy": true,
		"envoy_http_ext_proc_stateful_route_failure_mode_allowed": true, "envoy_http_rbac_denied": true}
	for name := range values {
		name, _, _ = strings.Cut(name, "{")
		names[name] = true
		if base, ok := strings.CutSuffix(name, "_count"); ok {
			names[base+"_bucket"] = true
		}
	}
	for _, group := range readRules(t).Groups {
		for _, rule := range group.Rules {
			names[rule.Record] = true
		}
	}
	return names
}

// metric matches the names in a query: what stands before a selector, a range,
// a bracket or an operator and has an underscore, which no function here has
// but those listed.
var (
	metric    = regexp.MustCompile(`[a-z_]+(?::[a-z_0-9]+)*`)
	functions = regexp.MustCompile(`^(histogram_quantile|group_left|clamp_max|clamp_min)$`)
	inBraces  = regexp.MustCompile(`\{[^}]*\}|\b(by|on|group_left) \([^)]*\)|"[^"]*"`)
)

func TestEveryQueryReadsMetricsThatAreServed(t *testing.T) {
	queries := Queries("chat")
	for _, group := range readRules(t).Groups {
		for _, rule := range group.Rules {
			queries = append(queries, rule.Expr)
		}
	}
	names, checked := served(t), 0
	for _, q := range queries {
		for _, name := range metric.FindAllString(inBraces.ReplaceAllString(q, ""), -1) {
			if (!strings.Contains(name, "_") && name != "up") || functions.MatchString(name) {
				continue
			}
			checked++
			if !names[name] {
				t.Errorf("nothing serves %s, which is read by %s", name, q)
			}
		}
		if strings.Contains(q, "$") {
			t.Errorf("a variable is left in %s", q)
		}
	}
	if checked < 60 {
		t.Errorf("only %d names found in %d queries", checked, len(queries))
	}
}

func TestEveryAlertHasItsRunbookAndEveryRunbookItsAlert(t *testing.T) {
	pages := map[string]bool{}
	found, err := filepath.Glob("runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range found {
		pages[page] = true
	}
	for _, group := range readRules(t).Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "" {
				continue
			}
			page := "runbooks/" + rule.Alert + ".md"
			if !pages[page] || !strings.HasSuffix(rule.Annotations["runbook_url"], "/dashboards/"+page) {
				t.Errorf("alert %s: runbook_url %q, page exists: %v", rule.Alert, rule.Annotations["runbook_url"], pages[page])
			}
			if _, err := analysis.ParseSeverity(rule.Labels["severity"]); err != nil || rule.Annotations["summary"] == "" {
				t.Errorf("alert %s: severity %v, summary %q", rule.Alert, err, rule.Annotations["summary"])
			}
			delete(pages, page)
		}
	}
	for page := range pages {
		t.Errorf("no alert leads to %s", page)
	}
}

func TestPromtoolAcceptsTheRulesAndTheirTests(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	for _, args := range [][]string{{"check", "rules", "--lint=all", "--lint-fatal", "rules.yml"}, {"test", "rules", "rules_test.yml"}} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}

// TestPromtoolParsesEveryPanel turns the panels' queries into rules, for
// promtool has no command that only parses.
func TestPromtoolParsesEveryPanel(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var rules []rule
	for _, q := range Queries("chat") {
		rules = append(rules, rule{"panel", q})
	}
	text, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "panels", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "panels.yml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", "--lint=none", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
