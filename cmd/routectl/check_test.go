package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// wrong waits until check finds exactly what is wanted, and nothing else.
func (s *stack) wrong(t *testing.T, args []string, want ...string) {
	t.Helper()
	var stdout, stderr string
	harness.Eventually(t, harness.Patience, "check finds what is wrong", func() error {
		var code int
		code, stdout, stderr = s.run(append([]string{"check"}, args...)...)
		lines := strings.Split(strings.TrimSpace(stdout), "\n")
		if code != 1 || stderr != "" || len(lines) != len(want) {
			return errorOf(code, stdout, stderr)
		}
		for i, line := range lines {
			if !strings.Contains(line, want[i]) {
				return errorOf(code, stdout, stderr)
			}
		}
		return nil
	})
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	s := startStack(t, "{interval: 1h}")
	s.wrong(t, nil, "0 of 1 Envoy connected to xds-server")
	envoy := connectEnvoy(t, s.xdsAddress)
	s.wrong(t, []string{"--pending", "0s"}, `envoy "envoy-0" has not answered cds version`)
	s.until(t, "pending (lagging: nobody waits for it)", "envoys")
	envoy.answer(t, "")
	s.until(t, "nothing is wrong", "check")
	s.wrong(t, []string{"--envoys", "2"}, "1 of 2 Envoys connected to xds-server")

	for _, pod := range []string{"chat-0", "chat-1"} {
		s.ok(t, "pods", "drain", "chat", pod)
	}
	s.until(t, "nothing is wrong", "check")
	s.ok(t, "pods", "maintenance", "chat", "chat-2")
	s.wrong(t, nil, `service "chat" has no ready pod: 2 draining, 1 in maintenance, 0 unhealthy`)
	s.ok(t, "pods", "ready", "chat", "chat-2")

	edit(t, s.configFile, "weight: 7", "weight: 0")
	s.wrong(t, nil, s.configFile+":12: services[0].pods.static[2].weight")
	if out := s.ok(t, "status"); !strings.Contains(out, "bad: the last good one is kept") || !strings.Contains(out, "static[2].weight") {
		t.Errorf("status:\n%s", out)
	}
	edit(t, s.configFile, "weight: 0", "weight: 7")
	s.until(t, "nothing is wrong", "check")
	edit(t, s.extprocConfigFiles[0], "store", "stone")
	s.wrong(t, nil, "extproc at http://"+s.extprocAdmins[0]+" keeps its last good configuration, the newest is bad")
	edit(t, s.extprocConfigFiles[0], "stone", "store")
	edit(t, s.extprocConfigFiles[0], "{}}", "{}}\naffinity: {cleanup_interval: 2m}")
	s.until(t, "nothing is wrong", "check")

	edit(t, s.configFile, "on_pod_loss: reject", "on_pod_loss: rebind")
	envoy.answer(t, "no such\nfilter")
	s.wrong(t, nil, `refused cds version`)
}

func TestCheckNamesServersThatAreAway(t *testing.T) {
	s := startStack(t, "{interval: 1h}")
	connectEnvoy(t, s.xdsAddress).answer(t, "")
	s.until(t, "nothing is wrong", "check")
	s.extproc.Stop(t)
	s.wrong(t, nil, "extproc at http://"+s.extprocAdmins[0]+" cannot be reached: connect: connection refused", "1 of 2 extprocs connected")
	s.xds.Stop(t)
	s.extproc.Start(t)
	s.wrong(t, nil, "xds-server at http://"+s.xdsAdmin+" cannot be reached", "extproc at http://"+s.extprocAdmins[0]+" is not ready: services and pods have not arrived",
		"extproc at http://"+s.extprocAdmins[1]+": xds-server does not answer: services and pods are as they were")
	code, stdout, stderr := s.run("status")
	want := "routectl: xds-server at http://" + s.xdsAdmin + " cannot be reached: connect: connection refused\n"
	if code != 1 || stderr != want || !strings.Contains(stdout, "unreachable") || !strings.Contains(stdout, "not ready") {
		t.Errorf("status: %d %q\n%s", code, stderr, stdout)
	}
	for _, args := range [][]string{{"services"}, {"pods"}, {"pods", "drain", "chat", "chat-0"}, {"envoys"}, {"report"}} {
		if code, stdout, stderr := s.run(args...); code != 1 || stdout != "" || stderr != want {
			t.Errorf("%v: %d %q %q", args, code, stdout, stderr)
		}
	}
}

func TestCheckTellsOfSevereIssues(t *testing.T) {
	s := startStack(t, `{interval: 2s, rules: [
  {name: Uses Memory, metric: memory_usage, above: 0.0000001, severity: critical},
  {name: Uses Some, metric: memory_usage, above: 0.0000001, severity: medium}]}`)
	s.wrong(t, nil, "0 of 1 Envoy", "critical issue, Uses Memory: ", "critical issue, Uses Memory: ", "critical issue, Uses Memory: ")
	var report checkReport
	_, stdout, _ := s.run("check", "-o", "json")
	parse(t, stdout, &report)
	if report.OK || len(report.Problems) != 4 || report.Problems[1].Kind != "issue" {
		t.Errorf("%+v", report)
	}
}

// What answers in a server's place is named, and its answer not taken for one.
func TestAnotherServerAnswers(t *testing.T) {
	s := startStack(t, "{interval: 1h}")
	s.xdsAdmin, s.extprocAdmins = s.extprocAdmins[0], []string{s.xdsAdmin}
	code, _, stderr := s.run("services")
	if code != 1 || !strings.HasPrefix(stderr, "routectl: ") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("services: %d %q", code, stderr)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			_ = c.Close()
		}
	}()
	s.xdsAdmin = l.Addr().String()
	// What the HTTP client says after that depends on when the connection ends.
	want := "routectl: xds-server at http://" + s.xdsAdmin + " cannot be reached: "
	if code, _, stderr := s.run("services"); code != 1 || !strings.HasPrefix(stderr, want) || strings.Count(stderr, "\n") != 1 {
		t.Errorf("one that hangs up: %d %q", code, stderr)
	}
}

// An extproc whose file is gone with its folder serves on, and says so wherever an
// operator looks.
func TestCheckNamesWhatCannotBeWritten(t *testing.T) {
	s := startStack(t, "{interval: 1h}")
	dir := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	edit(t, s.extprocConfigFiles[0], "{memory: {}}", "{memory: {path: "+filepath.Join(dir, "pins.db")+"}}")
	s.extproc.Stop(t)
	s.extproc.Start(t)
	s.until(t, "nothing is wrong", "check", "--envoys", "0")
	s.bind(t, 0, "chat", "chat-1", "alice")

	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	s.wrong(t, []string{"--envoys", "0"}, "extproc at http://"+s.extprocAdmins[0]+": bindings cannot be written")
	if out := s.ok(t, "status"); !strings.Contains(out, "bindings cannot be written") {
		t.Errorf("status:\n%s", out)
	}
	admin := "http://" + s.extprocAdmins[0]
	if v, err := harness.Metric(admin+"/metrics", "stateful_route_persistence_ok", `what="bindings"`); err != nil || v != 0 {
		t.Errorf("persistence_ok is %v, %v", v, err)
	}
	if v, err := harness.Metric(admin+"/metrics", "stateful_route_persistence_failures_total", `what="bindings"`); err != nil || v == 0 {
		t.Errorf("persistence_failures_total is %v, %v", v, err)
	}
	if body, err := harness.Body(admin + "/readyz"); err != nil || !strings.Contains(body, "vanished") {
		t.Errorf("readyz: %s, %v", body, err)
	}
	harness.Eventually(t, harness.Patience, "the live page is told", func() error { return s.pageSays("bindings cannot be written") })

	// A disk that comes back with an older state gets what is in memory.
	s.bind(t, 0, "chat", "chat-2", "bob")
	if err := os.Rename(dir+"-away", dir); err != nil {
		t.Fatal(err)
	}
	s.until(t, "nothing is wrong", "check", "--envoys", "0")
	s.extproc.Kill(t)
	s.extproc.Start(t)
	s.until(t, "nothing is wrong", "check", "--envoys", "0")
	for key, pod := range map[string]string{"alice": "chat-1", "bob": "chat-2"} {
		if out := s.ok(t, "sessions", "show", "chat", key); !strings.Contains(out, pod) {
			t.Errorf("session %s after the restart:\n%s", key, out)
		}
	}
}

// pageSays reads the live page's stream until it shows a state, and looks for text
// in it.
func (s *stack) pageSays(text string) error {
	resp, err := s.http.Get("http://" + s.xdsAdmin + "/api/v1/live")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for state := false; lines.Scan(); {
		state = state || lines.Text() == "event: state"
		if !state || !strings.HasPrefix(lines.Text(), "data:") {
			continue
		}
		if strings.Contains(lines.Text(), text) {
			return nil
		}
		return fmt.Errorf("the page shows %s", lines.Text())
	}
	return lines.Err()
}
