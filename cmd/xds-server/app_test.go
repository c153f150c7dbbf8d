package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/e2e/harness"
	"github.com/stateful-route/stateful-route/insight/analysis"
	"github.com/stateful-route/stateful-route/internal/cli"
	"github.com/stateful-route/stateful-route/internal/extensions"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is an xds-server in this process.
type running struct {
	file, admin string
	logs        *observer.ObservedLogs
	client      *http.Client
	stop        func()
}

// goodConfig has a service with so many pods.
func goodConfig(admin string, pods int, more string) string {
	var list strings.Builder
	for i := range pods {
		fmt.Fprintf(&list, "{name: chat-%d, address: 127.0.0.1:%d}, ", i, 9000+i)
	}
	return fmt.Sprintf("listen: 127.0.0.1:0\nadmin: %s\nservices: [{name: chat, session: {key: [{header: x}]}, pods: {static: [%s]}}]\n%s", admin, list.String(), more)
}

func start(t *testing.T, more string) *running {
	t.Helper()
	return startIn(t, t.TempDir(), func(admin string) string { return goodConfig(admin, 1, more) })
}

// startIn starts xds-server with a configuration in dir, until stop or the end of
// the test.
func startIn(t *testing.T, dir string, text func(admin string) string, rules ...analysis.Rule) *running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zap.InfoLevel)
	r := &running{
		file: filepath.Join(dir, "xds-server.yaml"), admin: l.Addr().String(), logs: logs,
		client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}},
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r.write(t, text(r.admin))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- program(extensions.Set{Rules: rules}).Run(ctx, cli.Process{ConfigFile: r.file, Version: "v0-test", Logger: zap.New(core)})
	}()
	r.stop = sync.OnceFunc(func() {
		r.client.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	r.await(t, "to be ready", func() bool { code, _ := r.get("/readyz"); return code == http.StatusOK })
	return r
}

func (r *running) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(r.file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(r.file+".new", r.file); err != nil {
		t.Fatal(err)
	}
}

// get returns 0 when nobody answers.
func (r *running) get(path string) (code int, body string) {
	resp, err := r.client.Get("http://" + r.admin + path)
	if err != nil {
		return 0, ""
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, ""
	}
	return resp.StatusCode, string(raw)
}

func (r *running) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	harness.Eventually(t, harness.Patience, "xds-server "+what, func() error {
		if !ok() {
			return fmt.Errorf("its log: %v", r.logs.All())
		}
		return nil
	})
}

func (r *running) pods() int {
	var rows []struct{}
	_, body := r.get("/api/v1/services/chat/pods")
	_ = json.Unmarshal([]byte(body), &rows) // leaves rows empty when it fails
	return len(rows)
}

// config is the configuration's part of the status, and the metric.
func (r *running) config() (good bool, reason, metric string) {
	var status struct {
		Config struct {
			Good  bool   `json:"good"`
			Error string `json:"error"`
		} `json:"config"`
	}
	_, body := r.get("/api/v1/status")
	_ = json.Unmarshal([]byte(body), &status)
	_, text := r.get("/metrics")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "stateful_route_config_last_reload_successful "); ok {
			metric = strings.TrimSpace(value)
		}
	}
	return status.Config.Good, status.Config.Error, metric
}

func (r *running) logged(message string) int {
	return r.logs.FilterMessageSnippet(message).Len()
}

// A bad new version is kept out, whatever is wrong with it, and said in the log,
// in the metric and in the status; when the file is good again, so is all of it.
func TestABadConfigurationIsKeptOutUntilItIsGoodAgain(t *testing.T) {
	r := start(t, "")
	if good, reason, metric := r.config(); !good || reason != "" || metric != "1" {
		t.Errorf("at first: %v %q %s", good, reason, metric)
	}
	missing := filepath.Join(t.TempDir(), "nobody.yaml")
	for i, bad := range []struct{ text, reason string }{
		{"services: [{name: chat, pods: {static: [{name: a, address: nowhere}]}}]", `xds-server.yaml:1: services[0].pods.static[0].address`},
		{goodConfig(r.admin, 3, "") + "colour: red\n", "colour"},
		{strings.Replace(goodConfig(r.admin, 3, ""), "services: [", "services: [{name: new, match: {prefix: /new}, pods: {file: "+missing+"}}, ", 1), "nobody.yaml"},
		{"", "empty"},
	} {
		r.write(t, bad.text)
		r.await(t, "to refuse "+bad.reason, func() bool {
			good, reason, metric := r.config()
			return !good && strings.Contains(reason, bad.reason) && metric == "0"
		})
		if n := r.logged("the new configuration is bad"); n <= i {
			t.Errorf("%d errors logged after %d bad versions", n, i+1)
		}
		if n := r.pods(); n != 1 {
			t.Errorf("with %q there are %d pods, want the one of the good version", bad.reason, n)
		}
	}
	r.write(t, goodConfig(r.admin, 1, "")) // what is in force already
	r.await(t, "to be content", func() bool { good, reason, metric := r.config(); return good && reason == "" && metric == "1" })
	r.write(t, goodConfig(r.admin, 2, ""))
	r.await(t, "to take the second pod", func() bool { return r.pods() == 2 })
}

// What is read at a start only is said to need one.
func TestSettingsThatNeedARestartAreNamed(t *testing.T) {
	r := start(t, "")
	r.write(t, goodConfig(r.admin, 2, "state: orders.json\nanalyzer: {interval: 7s}\n"))
	r.await(t, "to take the rest", func() bool { return r.pods() == 2 })
	r.await(t, "to say so", func() bool { return r.logged("change only with a restart") == 1 })
	entry := r.logs.FilterMessageSnippet("change only with a restart").All()[0]
	if got := entry.ContextMap()["settings"]; got != "analyzer, state" {
		t.Errorf("named: %v", got)
	}
	if r.logged("several replicas") > 0 {
		t.Error("one extproc was taken for several")
	}
}

func TestThatReplicasNeedAStoreIsSaid(t *testing.T) {
	r := start(t, "envoy: {extproc: {address: ['127.0.0.1:1', '127.0.0.1:2']}}\n")
	if n := r.logged("several replicas"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

// --check looks at all a start would: the pods and what Envoy would be told, too.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	var heavy strings.Builder // each weight is allowed, their sum is not
	for i := range 4295 {
		fmt.Fprintf(&heavy, "{name: p%d, address: 127.0.0.1:%d, weight: 1000000}, ", i, i+1)
	}
	for name, c := range map[string]struct{ text, fails string }{
		"good":    {goodConfig("127.0.0.1:1", 2, ""), ""},
		"weights": {"services: [{name: chat, pods: {static: [" + heavy.String() + "]}}]", "add up to"},
		"no pods": {"services: [{name: chat, pods: {file: nobody.yaml}}]", "nobody.yaml"},
		"value":   {"services: []", "at least one service"},
	} {
		file := filepath.Join(dir, "x.yaml")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		code := cli.Main("xds-server", []string{"--config", file, "--check"}, &out, &out, program(extensions.Set{}))
		if (code == 0) != (c.fails == "") || !strings.Contains(out.String(), c.fails) {
			t.Errorf("%s: exit code %d, %s", name, code, out.String())
		}
	}
}

// A strategy that is registered in main may be named in the configuration.
func TestAStrategyOfOnesOwn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "xds-server.yaml")
	text := "services: [{name: chat, balancing: {strategy: mine}, pods: {static: []}}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	known := extensions.Set{Balancing: balancing.NewRegistry()}
	if err := program(known).Check(file); err == nil {
		t.Error("an unknown strategy was accepted")
	}
	build := func(balancing.Options) (balancing.Strategy, error) { return nil, nil }
	if err := known.Balancing.Register("mine", build, balancing.Traits{}); err != nil {
		t.Fatal(err)
	}
	if err := program(known).Check(file); err != nil {
		t.Error(err)
	}
}

// A rule that is of the build's own watches what no configured metric says, and the
// configuration may not have another of its name.
func TestARuleOfOnesOwn(t *testing.T) {
	idle := analysis.Rule{
		Name: "Idle Pod", Compare: analysis.AtMost, Severity: analysis.Low, Suggestion: "Give it something to do",
		Measure: func(w *analysis.Window) (float64, bool) { return float64(w.Requests), w.Pod != "" },
	}
	r := startIn(t, t.TempDir(), func(admin string) string {
		return goodConfig(admin, 1, "analyzer: {interval: 100ms}\n")
	}, idle)
	r.await(t, "to apply the rule", func() bool {
		_, body := r.get("/api/v1/report")
		return strings.Contains(body, `"rule": "Idle Pod"`) && strings.Contains(body, "Give it something to do")
	})
	file := filepath.Join(t.TempDir(), "xds-server.yaml")
	text := goodConfig("127.0.0.1:1", 1, "analyzer: {rules: [{name: Idle Pod, metric: request_rate, below: 1, severity: low}]}\n")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := program(extensions.Set{}).Check(file); err != nil {
		t.Error(err)
	}
	if err := program(extensions.Set{Rules: []analysis.Rule{idle}}).Check(file); err == nil || !strings.Contains(err.Error(), `xds-server.yaml:4: analyzer.rules[0].name: there is a rule "Idle Pod" already`) {
		t.Errorf("the name of a program's own rule was accepted: %v", err)
	}
}
