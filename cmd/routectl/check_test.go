package main

import (
	"net"
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
	s.wrong(t, nil, "xds-server at http://"+s.xdsAdmin+" cannot be reached", "extproc at http://"+s.extprocAdmins[0]+" is not ready: services and pods have not arrived")
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
