package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
	"github.com/stateful-route/stateful-route/internal/redistest"
)

// demo is the whole of `make run` on ports of its own, with real signals.
type demo struct {
	*harness.Process
	url string
}

var (
	curlLine = regexp.MustCompile(`curl -H 'x-session-id: alice' (\S+)`)
	// routectlLine is how the replicas can be seen.
	routectlLine = regexp.MustCompile(`(?m)^  \S+routectl replicas .*$`)
	// tableLine says by which file Envoy answers for sessions itself.
	tableLine = regexp.MustCompile(`by Envoy alone, with (\S+)`)
	pidLine   = regexp.MustCompile(`started (\S+), pid (\d+)`)
)

func startDemo(t *testing.T, programs string, flags ...string) *demo {
	t.Helper()
	dir := t.TempDir()
	replace := []string{
		"path: pins.db", "path: " + filepath.Join(dir, "pins.db"),
		"state: services.json", "state: " + filepath.Join(dir, "services.json"),
	}
	for _, old := range []string{
		"0.0.0.0:10000", "127.0.0.1:18000", "127.0.0.1:18001", "127.0.0.1:18080", "127.0.0.1:18081",
		"127.0.0.1:9101", "127.0.0.1:9102", "127.0.0.1:9103",
	} {
		replace = append(replace, old, harness.Address(t))
	}
	o := samples(t, replace...)
	flags = append(flags, "--xds-config", o.xdsConfig, "--extproc-config", o.extprocConfig, "--envoy-admin", harness.Address(t))
	d := &demo{Process: harness.NewProcess(t, "run", filepath.Join(programs, "run"), flags...)}
	harness.Eventually(t, 2*harness.Patience, "make run is ready", func() error {
		if !d.Running() {
			t.Fatalf("it ended with exit code %d:\n%s", d.ExitCode(), d.Log(t))
		}
		m := curlLine.FindStringSubmatch(d.Log(t))
		if m == nil {
			return errors.New("it has not said what to try")
		}
		d.url = m[1]
		return nil
	})
	return d
}

// visits sends requests of a new session, which its pod counts.
func (d *demo) visits(t *testing.T, session string, n int) {
	t.Helper()
	for visit := 1; visit <= n; visit++ {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, d.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("x-session-id", session)
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body := make([]byte, 200)
		n, _ := resp.Body.Read(body)
		_ = resp.Body.Close()
		if want := fmt.Sprintf(`"session":%q,"visits":%d`, session, visit); !strings.Contains(string(body[:n]), want) {
			t.Errorf("got %q, want %s in it", body[:n], want)
		}
	}
}

// pids are the processes that it started, by name.
func (d *demo) pids(t *testing.T, programs int) map[string]int {
	t.Helper()
	pids := map[string]int{}
	for _, m := range pidLine.FindAllStringSubmatch(d.Log(t), -1) {
		pid, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		pids[m[1]] = pid
	}
	if len(pids) != programs {
		t.Fatalf("it started %v, want %d programs", pids, programs)
	}
	return pids
}

func noneLeft(t *testing.T, pids map[string]int) {
	t.Helper()
	for name, pid := range pids {
		harness.Eventually(t, harness.Patience, name+" is gone", func() error {
			if alive(pid) {
				return fmt.Errorf("process %d is left", pid)
			}
			return nil
		})
	}
}

func TestMakeRun(t *testing.T) {
	built, err := harness.Build(t.Context(), t.TempDir(), "run", "demo-pod", "xds-server", "extproc", "routectl")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("serves and stops on Ctrl-C", func(t *testing.T) {
		t.Parallel()
		d := startDemo(t, built.Dir)
		d.visits(t, "alice", 3)
		pids := d.pids(t, 6)
		d.Signal(syscall.SIGINT)
		if code := d.ExitCode(); code != 0 {
			t.Errorf("exit code %d after Ctrl-C", code)
		}
		for name, pid := range pids {
			if alive(pid) {
				t.Errorf("%s is left", name)
			}
		}
	})
	t.Run("runs replicas that share their sessions", func(t *testing.T) {
		t.Parallel()
		if _, err := redistest.Find(); err != nil {
			t.Skip(err)
		}
		d := startDemo(t, built.Dir, "--replicas=2")
		pids := d.pids(t, 8)
		command := routectlLine.FindString(d.Log(t))
		if command == "" {
			t.Fatalf("it does not say how to see the replicas:\n%s", d.Log(t))
		}
		args, begun := strings.Fields(command), 0
		harness.Eventually(t, harness.Patience, "both replicas decide for sessions", func() error {
			d.visits(t, fmt.Sprint("s-", begun), 5) // Envoy may know it after the first
			begun++
			out, err := exec.CommandContext(t.Context(), args[0], append(args[1:], "-o", "json")...).Output()
			if err != nil {
				return fmt.Errorf("%s: %w", command, err)
			}
			var found struct {
				Stores []struct {
					State    string
					Replicas []struct{ Bindings int }
				}
			}
			if err := json.Unmarshal(out, &found); err != nil {
				return err
			}
			if len(found.Stores) != 1 || found.Stores[0].State != "open" || len(found.Stores[0].Replicas) != 2 {
				return fmt.Errorf("%s", out)
			}
			for _, r := range found.Stores[0].Replicas {
				if r.Bindings == 0 {
					return fmt.Errorf("%s", out)
				}
			}
			return nil
		})
		d.Signal(syscall.SIGINT)
		if code := d.ExitCode(); code != 0 {
			t.Errorf("exit code %d after Ctrl-C", code)
		}
		noneLeft(t, pids)
	})
	t.Run("ends when a program dies", func(t *testing.T) {
		t.Parallel()
		d := startDemo(t, built.Dir)
		pids := d.pids(t, 6)
		if err := syscall.Kill(pids["extproc"], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if code := d.ExitCode(); code != 1 || !strings.Contains(d.Log(t), "run: extproc ended by itself (signal: killed)") {
			t.Errorf("exit code %d; it said\n%s", code, d.Log(t))
		}
		noneLeft(t, pids)
	})
	t.Run("leaves nothing when it is killed", func(t *testing.T) {
		t.Parallel()
		d := startDemo(t, built.Dir)
		pids := d.pids(t, 6)
		table := tableLine.FindStringSubmatch(d.Log(t))
		d.Kill(t)
		noneLeft(t, pids)
		if table == nil { // there is no C compiler
			return
		}
		own, err := sharedFolder() // as the next run makes
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(own) })
		if _, err := os.Stat(table[1]); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the next run leaves the table of the one that was killed: %v", err)
		}
	})
}
