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
	"testing"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/config"
	"github.com/stateful-route/stateful-route/internal/cli"
	"github.com/stateful-route/stateful-route/xds"
	"github.com/stateful-route/stateful-route/xds/discovery"
)

// podsList is a file's text with the pods by name.
func podsList(names ...string) string {
	var b strings.Builder
	for i, name := range names {
		fmt.Fprintf(&b, "- {name: %s, address: '127.0.0.1:%d'}\n", name, 9100+i)
	}
	if len(names) == 0 {
		return "[]\n"
	}
	return b.String()
}

func replace(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// sourced is a configuration with a state file, whose services are given.
func sourced(services string) func(admin string) string {
	return func(admin string) string {
		return fmt.Sprintf("listen: 127.0.0.1:0\nadmin: %s\nstate: state.db\nservices: [%s]\n", admin, services)
	}
}

// source is how the source of a service does; "static" where it has none.
func (r *running) source(service string) discovery.Status {
	var services []xds.ServiceReport
	_, body := r.get("/api/v1/services")
	_ = json.Unmarshal([]byte(body), &services) // leaves services empty when it fails
	for _, svc := range services {
		if svc.Name == service && svc.Source != nil {
			return *svc.Source
		}
	}
	return discovery.Status{State: "static"}
}

func (r *running) podsOf(service string) string {
	var rows []struct {
		Name  string `json:"name"`
		State string `json:"state"`
	}
	_, body := r.get("/api/v1/services/" + service + "/pods")
	_ = json.Unmarshal([]byte(body), &rows) // leaves rows empty when it fails
	var out []string
	for _, row := range rows {
		out = append(out, strings.TrimSuffix(row.Name+"("+row.State+")", "(ready)"))
	}
	return strings.Join(out, " ")
}

func (r *running) post(t *testing.T, path string) (int, map[string]any) {
	t.Helper()
	resp, err := r.client.Post("http://"+r.admin+path, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var body map[string]any
	if err := json.Unmarshal(raw, &body); err != nil {
		t.Fatalf("%s in %s", err, raw)
	}
	return resp.StatusCode, body
}

func (r *running) metric(name string) string {
	_, text := r.get("/metrics")
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// A pods file that is bad at a reload keeps its service's last good pods, and
// nothing else from being reloaded. It is taken once it is mended.
func TestABadPodsFileAtAReload(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pods.yaml")
	replace(t, file, podsList("a", "b"))
	r := startIn(t, dir, sourced("{name: chat, pods: {file: pods.yaml}}"))
	replace(t, file, "- {name: a, where: x}\n")
	r.await(t, "to see the bad file", func() bool { return r.source("chat").State == "stale" })
	r.write(t, sourced("{name: chat, balancing: {slow_start: 1s}, pods: {file: pods.yaml}}, {name: new, match: {prefix: /new}, pods: {static: []}}")(r.admin))
	r.await(t, "to reload", func() bool { return r.logged("configuration reloaded") == 1 })
	if got := r.podsOf("chat"); got != "a b" {
		t.Errorf("the pods are %q", got)
	}
	if got := r.source("chat"); got.State != "stale" || !strings.Contains(got.Error, "where: unknown field") || r.metric(`stateful_route_pod_sources{state="stale"}`) != "1" {
		t.Errorf("source: %+v", got)
	}
	// Another file for the service, which is bad too.
	r.write(t, sourced("{name: chat, pods: {file: other.yaml}}")(r.admin))
	r.await(t, "to take the other file", func() bool { return strings.Contains(r.source("chat").Error, "other.yaml") })
	if good, reason, _ := r.config(); !good || r.podsOf("chat") != "a b" {
		t.Errorf("configuration: %v %q, pods %q", good, reason, r.podsOf("chat"))
	}
	replace(t, filepath.Join(dir, "other.yaml"), podsList("c"))
	r.await(t, "to take the mended file", func() bool { return r.podsOf("chat") == "c" && r.source("chat").State == "good" })
}

// A service that is new and has a bad file cannot be served: the configuration is
// refused, and taken once the file is mended.
func TestAConfigurationIsTakenOnceItsPodsFileIsMended(t *testing.T) {
	r := start(t, "")
	file := filepath.Join(filepath.Dir(r.file), "pods.yaml")
	r.write(t, strings.Replace(goodConfig(r.admin, 2, ""), "services: [", "services: [{name: new, match: {prefix: /new}, pods: {file: pods.yaml}}, ", 1))
	r.await(t, "to refuse it", func() bool { good, reason, _ := r.config(); return !good && strings.Contains(reason, "pods.yaml") })
	replace(t, file, "- {}\n")
	r.await(t, "to refuse it for another reason", func() bool { _, reason, _ := r.config(); return strings.Contains(reason, "printable text") })
	if n := r.pods(); n != 1 {
		t.Errorf("%d pods while it is refused", n)
	}
	replace(t, file, podsList("a"))
	r.await(t, "to take it", func() bool { good, _, _ := r.config(); return good && r.podsOf("new") == "a" && r.pods() == 2 })
	if n := r.logged("the new configuration is bad"); n != 2 {
		t.Errorf("%d errors logged, want one for each reason", n)
	}
}

// A cold start whose sources cannot be read serves what the run before knew,
// orders included, and says so.
func TestAColdStartServesTheLastGoodState(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pods.yaml")
	services := sourced("{name: chat, pods: {file: pods.yaml}}")
	replace(t, file, podsList("a", "b", "c"))
	r := startIn(t, dir, services)
	if code, body := r.post(t, "/api/v1/services/chat/pods/b/drain"); code != 200 || body["saved"] != true || body["error"] != nil {
		t.Errorf("the order: %d %v", code, body)
	}
	r.stop()
	for what, spoil := range map[string]func() error{
		"missing": func() error { return os.Remove(file) },
		"bad":     func() error { return os.WriteFile(file, []byte("- {name"), 0o600) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		r = startIn(t, dir, services)
		got := r.source("chat")
		if r.podsOf("chat") != "a b(draining) c" || got.State != "stale" || !got.Restored || got.Age <= 0 || got.Error == "" {
			t.Errorf("%s: %q, %+v", what, r.podsOf("chat"), got)
		}
		if age := r.metric("stateful_route_pod_source_age_seconds"); age == "" || age == "0" {
			t.Errorf("%s: age %q", what, age)
		}
		r.stop()
	}
	// A list that is almost empty at the start is a loss like any other.
	replace(t, file, podsList("a"))
	r = startIn(t, dir, services)
	if got := r.source("chat"); r.podsOf("chat") != "a b(draining) c" || got.State != "held" {
		t.Errorf("almost empty: %q, %+v", r.podsOf("chat"), got)
	}
	if code, body := r.post(t, "/api/v1/services/chat/pods/accept"); code != 200 || r.podsOf("chat") != "a" {
		t.Errorf("accepted: %d %v, %q", code, body, r.podsOf("chat"))
	}
	if code, body := r.post(t, "/api/v1/services/chat/pods/accept"); code != 409 || body["error"] == "" {
		t.Errorf("accepted again: %d %v", code, body)
	}
	if code, _ := r.post(t, "/api/v1/services/nobody/pods/accept"); code != 404 {
		t.Errorf("no service: %d", code)
	}
}

func TestAColdStartWithoutDNS(t *testing.T) {
	dir := t.TempDir()
	state := `{"version": 1, "orders": [{"service": "chat", "pod": "10.0.0.1:80", "state": "draining"}], "pods": {"chat": {"source": "dns nobody.invalid:80",
		"confirmed": "2026-01-01T00:00:00Z", "pods": [{"name": "10.0.0.1:80", "address": "10.0.0.1:80", "weight": 1}, {"name": "10.0.0.2:80", "address": "10.0.0.2:80", "weight": 1}]}}}`
	if err := os.WriteFile(filepath.Join(dir, "state.db"), []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
	r := startIn(t, dir, sourced("{name: chat, pods: {dns: {host: nobody.invalid, port: 80}}}"))
	if got := r.source("chat"); r.podsOf("chat") != "10.0.0.1:80(draining) 10.0.0.2:80" || got.State != "stale" || !got.Restored {
		t.Errorf("%q, %+v", r.podsOf("chat"), got)
	}
}

// When xDS cannot be served, the sources that were begun have ended with it.
func TestAStartThatFailsLeavesNoSourceBehind(t *testing.T) {
	dir := t.TempDir()
	replace(t, filepath.Join(dir, "pods.yaml"), podsList("a"))
	file := filepath.Join(dir, "xds-server.yaml")
	replace(t, file, "services: [{name: chat, pods: {file: pods.yaml}}]\n")
	cfg, err := config.LoadXDSServer(file)
	if err != nil {
		t.Fatal(err)
	}
	load := func(file string, more ...config.Option) (*config.XDSServer, error) {
		return config.LoadXDSServer(file, more...)
	}
	a, err := newApp(t.Context(), cli.Process{ConfigFile: file, Version: "v0-test", Logger: zap.NewNop()}, cfg, nil, load)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.server.Run(ctx) }()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	running := goleak.IgnoreCurrent()
	if err := a.serve(ctx, cfg, listener); err == nil {
		t.Error("it served on a closed listener")
	}
	if err := goleak.Find(running); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// An order that is none is set aside, and ends no start.
func TestAnOddOrderEndsNoStart(t *testing.T) {
	dir := t.TempDir()
	replace(t, filepath.Join(dir, "pods.yaml"), podsList("a"))
	if err := os.WriteFile(filepath.Join(dir, "state.db"), []byte(`[{"service": "chat", "pod": "a", "state": "odd"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	r := startIn(t, dir, sourced("{name: chat, pods: {file: pods.yaml}}"))
	if r.logged("orders and pods of the last run are lost") != 1 {
		t.Errorf("log: %v", r.logs.All())
	}
}

// An order that cannot be saved is in force, and everywhere it is seen that a
// restart forgets it.
func TestAnOrderThatCannotBeSavedIsSeen(t *testing.T) {
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	r := startIn(t, dir, func(admin string) string { return goodConfig(admin, 2, "state: disk/state.db\n") })
	if err := os.Rename(disk, disk+".gone"); err != nil {
		t.Fatal(err)
	}
	code, body := r.post(t, "/api/v1/services/chat/pods/chat-0/drain")
	if reason, _ := body["error"].(string); code != 200 || body["state"] != "draining" || body["saved"] != false || !strings.Contains(reason, "state.db") {
		t.Errorf("the order: %d %v", code, body)
	}
	seen := func() bool {
		code, ready := r.get("/readyz")
		_, status := r.get("/api/v1/status")
		return code == http.StatusOK && strings.Contains(ready, "orders cannot be written") && strings.Contains(status, "orders cannot be written") &&
			r.metric(`stateful_route_persistence_ok{what="orders"}`) == "0"
	}
	r.await(t, "to show it", seen)
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	r.await(t, "to be whole again", func() bool {
		_, ready := r.get("/readyz")
		return !strings.Contains(ready, "degraded") && r.metric(`stateful_route_persistence_ok{what="orders"}`) == "1"
	})
	raw, err := os.ReadFile(filepath.Join(disk, "state.db"))
	if err != nil || !strings.Contains(string(raw), "draining") {
		t.Errorf("kept: %s, %v", raw, err)
	}
}

// Without a state file an order is not saved, and that is no fault.
func TestAnOrderWithoutAStateFile(t *testing.T) {
	r := start(t, "")
	if code, body := r.post(t, "/api/v1/services/chat/pods/chat-0/drain"); code != 200 || body["saved"] != false || body["error"] != nil {
		t.Errorf("%d %v", code, body)
	}
}
