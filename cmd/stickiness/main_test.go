package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/stateful-route/stateful-route/stickiness/gateway"
	"github.com/stateful-route/stateful-route/stickiness/pod"
	"github.com/stateful-route/stateful-route/stickiness/reference"
)

func TestMain(m *testing.M) {
	pod.RunIfChild()
	goleak.VerifyTestMain(m)
}

func command(t *testing.T, spoil reference.Spoil, args ...string) (code int, out string) {
	t.Helper()
	var b, errs strings.Builder
	args = append([]string{"--health-timeout=1m", "--patience=1m"}, args...) // the machine may be busy
	code = run(t.Context(), args, &b, &errs, []gateway.Adapter{reference.Adapter(spoil)})
	return code, b.String() + errs.String()
}

func TestARunWritesWhatCameOfIt(t *testing.T) {
	dir := t.TempDir()
	args := []string{"--adapters=reference", "--schedules=calm,scale-up,control-plane-away", "--seed=1,2", "--duration=1s", "--sessions=10", "--rate=50", "--out", dir}
	code, out := command(t, reference.Spoil{}, args...)
	if code != kept || !strings.Contains(out, "| scale-up | ok |") || !strings.Contains(out, "| control-plane-away | n/a |") {
		t.Errorf("code %d\n%s", code, out)
	}
	for _, name := range []string{"table.md", "results.json"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "logs")); err == nil {
		t.Error("logs are kept of runs in which all was well")
	}
}

func TestAWrongRunIsShown(t *testing.T) {
	dir := t.TempDir()
	spoil := reference.Spoil{Route: func(n int64, _ string, all []string) string { return all[n%int64(len(all))] }}
	code, out := command(t, spoil, "--adapters=reference", "--schedules=calm", "--duration=1s", "--sessions=10", "--rate=50", "--out", dir)
	if code != notKept || !strings.Contains(out, " wrong** (") {
		t.Errorf("code %d\n%s", code, out)
	}
	for _, name := range []string{"reference-calm-1.svg", "logs/reference-calm-1/pods/pod-0.log"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestUsage(t *testing.T) {
	for want, args := range map[string][]string{
		`no "nobody"`: {"--adapters=nobody"}, `no "never"`: {"--schedules=never"}, "--seed": {"--seed=x"},
		"--duration: at least": {"--duration=1ms"}, `what is "more"`: {"more"},
	} {
		if code, out := command(t, reference.Spoil{}, args...); code != badUsage || !strings.Contains(out, want) {
			t.Errorf("%v: code %d, %s", args, code, out)
		}
	}
	if code, out := command(t, reference.Spoil{}, "--list"); code != kept || !strings.Contains(out, "rolling-replacement") || !strings.Contains(out, "reference") {
		t.Errorf("--list: code %d, %s", code, out)
	}
}

func TestWhatWasNotPlayedIsNotOK(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	var out, errs strings.Builder
	code := run(ctx, []string{"--adapters=reference", "--schedules=calm", "--out", dir}, &out, &errs, []gateway.Adapter{reference.Adapter(reference.Spoil{})})
	table, err := os.ReadFile(filepath.Join(dir, "table.md"))
	if code != notPlayed || err != nil || !strings.Contains(string(table), "| calm | error |") {
		t.Errorf("code %d, %s%s%v\n%s", code, &out, &errs, err, table)
	}
}
