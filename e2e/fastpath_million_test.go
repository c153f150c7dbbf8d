package e2e

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// ownMemory is what a process has in memory beside files that it shares in memory, in bytes.
func ownMemory(t *testing.T, pid int) (n int) {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		if name == "RssAnon" || name == "RssFile" {
			kib, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(value), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			n += kib << 10
		}
	}
	return n
}

// A process with a million sessions is killed, and restarted, while Envoy serves: known
// sessions go on where they are, and Envoy needs little memory beside the table.
func TestFastPathRestartWithAMillionSessions(t *testing.T) {
	t.Parallel()
	sessions, path := scaled(1_000_000), filepath.Join(t.TempDir(), "pins.db")
	s := start(t, harness.Options{
		FastPath: harness.FastPathOn, Services: []harness.Service{homeless()},
		Store:    map[string]any{"memory": map[string]any{"path": path}},
		Affinity: map[string]any{"capacity": 1_100_000},
	})
	before := ownMemory(t, s.Envoy.Pid())
	s.Extproc.Stop(t)
	fillStore(t, path, sessions, time.Now())
	s.Extproc.Start(t)
	s.WaitReady(t)
	keys, owners := make([]string, 200), map[string]string{}
	for i := range keys {
		n := i * (sessions / len(keys))
		keys[i] = fmt.Sprintf("old-%x", n*2654435761)
		owners[keys[i]] = fmt.Sprintf("chat-%d", n%3)
	}
	harness.SameOwners(t, owners, s.Load(keys, 1, 8, harness.InHeader).Owners(t))
	onFastPath(t, s, keys)
	traffic := s.Traffic(t, keys, 400*time.Millisecond)
	for _, end := range []func(){func() { s.Extproc.Kill(t) }, func() { s.Extproc.Stop(t) }} {
		end()
		traffic.Round(t)
		s.Extproc.Start(t)
		s.WaitReady(t)
		traffic.Round(t)
	}
	histories := traffic.Stop()
	n := harness.NoFailures(t, histories)
	harness.MaxPods(t, histories, 1)
	harness.SameOwners(t, owners, s.Load(keys, 1, 8, harness.InHeader).Owners(t))
	stats, err := cacheStats(s)
	if err != nil || stats.Size < sessions {
		t.Errorf("%d of %d sessions are there, %v", stats.Size, sessions, err)
	}
	grown := ownMemory(t, s.Envoy.Pid()) - before
	t.Logf("%d requests over two restarts with %d sessions; Envoy has %d MB more beside the table", n, stats.Size, grown>>20)
	if grown > 40<<20 {
		t.Errorf("Envoy has %d MB more", grown>>20)
	}
}
