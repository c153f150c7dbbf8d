package harness

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Prometheus is a real one that scrapes a stack.
type Prometheus struct{ URL string }

// Tool returns the path of a program that is not ours, or skips the test where
// it is not installed.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("SKIPPED: %s is not installed; scripts/test-deps.sh installs it on Debian and Ubuntu", name)
	}
	return path
}

// MetricURLs are the addresses of the metrics of both programs, each replica's, and of
// Envoy, by the job names that the alert rules expect.
func (s *Stack) MetricURLs() map[string][]string {
	out := map[string][]string{"xds-server": {s.XDSAdmin + "/metrics"}, "envoy": {s.EnvoyAdmin + "/stats/prometheus"}}
	for _, r := range s.Replicas {
		out["extproc"] = append(out["extproc"], r.Admin+"/metrics")
	}
	return out
}

// StartPrometheus starts one that scrapes the stack every second and evaluates
// a file of rules as often. Features are those of its --enable-feature.
func (s *Stack) StartPrometheus(t testing.TB, rules string, features ...string) *Prometheus {
	t.Helper()
	program := Tool(t, "prometheus")
	rules, err := filepath.Abs(rules)
	if err != nil {
		t.Fatal(err)
	}
	var jobs []any
	all := 0
	for name, urls := range s.MetricURLs() {
		var targets []string
		var path string
		for _, at := range urls {
			u, err := url.Parse(at)
			if err != nil {
				t.Fatal(err)
			}
			targets, path = append(targets, u.Host), u.Path
		}
		all += len(targets)
		jobs = append(jobs, map[string]any{
			"job_name": name, "metrics_path": path, "static_configs": []any{map[string]any{"targets": targets}},
		})
	}
	dir := t.TempDir()
	file, address := filepath.Join(dir, "prometheus.yml"), Address(t)
	writeYAML(t, file, map[string]any{
		"global":         map[string]any{"scrape_interval": "1s", "evaluation_interval": "1s"},
		"rule_files":     []string{rules},
		"scrape_configs": jobs,
	})
	args := []string{"--config.file=" + file, "--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + address, "--log.level=warn"}
	for _, feature := range features {
		args = append(args, "--enable-feature="+feature)
	}
	NewProcess(t, "prometheus", program, args...)
	p := &Prometheus{URL: "http://" + address}
	Eventually(t, Patience, "Prometheus scrapes all", func() error {
		up, err := p.Query("up == 1")
		if err == nil && len(up) != all {
			err = fmt.Errorf("up: %v", up)
		}
		return err
	})
	return p
}

// Sample is one series of an answer, with its value at one moment.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// Query evaluates an expression now. Series whose value is not a number are left
// out: a quantile of nothing is no data.
func (p *Prometheus) Query(expr string) ([]Sample, error) {
	var answer struct {
		Data struct {
			Type   string          `json:"resultType"`
			Result json.RawMessage `json:"result"`
		} `json:"data"`
	}
	if err := JSON(p.URL+"/api/v1/query?query="+url.QueryEscape(expr), &answer); err != nil {
		return nil, err
	}
	if answer.Data.Type != "vector" {
		return nil, fmt.Errorf("%s is a %s, not a vector", expr, answer.Data.Type)
	}
	var result []struct {
		Metric map[string]string `json:"metric"`
		Value  [2]any            `json:"value"`
	}
	if err := json.Unmarshal(answer.Data.Result, &result); err != nil {
		return nil, err
	}
	var out []Sample
	for _, r := range result {
		v, err := strconv.ParseFloat(fmt.Sprint(r.Value[1]), 64)
		if err != nil {
			return nil, err
		}
		if !math.IsNaN(v) {
			out = append(out, Sample{r.Metric, v})
		}
	}
	return out, nil
}

// Exemplars returns the labels of those that were kept in the last hour of the
// series that a selector selects.
func (p *Prometheus) Exemplars(selector string) ([]map[string]string, error) {
	var answer struct {
		Data []struct {
			Exemplars []struct{ Labels map[string]string }
		}
	}
	now := time.Now()
	query := url.Values{"query": {selector}, "start": {stamp(now.Add(-time.Hour))}, "end": {stamp(now.Add(time.Minute))}}
	if err := JSON(p.URL+"/api/v1/query_exemplars?"+query.Encode(), &answer); err != nil {
		return nil, err
	}
	var out []map[string]string
	for _, series := range answer.Data {
		for _, e := range series.Exemplars {
			out = append(out, e.Labels)
		}
	}
	return out, nil
}

func stamp(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }

// BrokenRules says of each rule that could not be evaluated why.
func (p *Prometheus) BrokenRules() ([]string, error) {
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	if err := JSON(p.URL+"/api/v1/rules", &answer); err != nil {
		return nil, err
	}
	var out []string
	for _, g := range answer.Data.Groups {
		for _, r := range g.Rules {
			if r.Health != "ok" {
				out = append(out, r.Name+" is "+r.Health+": "+r.LastError)
			}
		}
	}
	return out, nil
}

// Lint has promtool check what a URL serves, and returns what it has to say.
func Lint(t testing.TB, at string) []string {
	t.Helper()
	text, err := Body(at)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(Tool(t, "promtool"), "check", "metrics")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Fatal(err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}
