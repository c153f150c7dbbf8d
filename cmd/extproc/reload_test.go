package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/stateful-route/stateful-route/e2e/harness"
	"github.com/stateful-route/stateful-route/extproc"
	"github.com/stateful-route/stateful-route/insight/metrics"
)

type recordedTimeouts map[string]time.Duration

func (r recordedTimeouts) SetIdleTimeout(service string, d time.Duration) { r[service] = d }

type countedReloads []bool

func (c *countedReloads) ConfigReload(ok bool) { *c = append(*c, ok) }

func TestReload(t *testing.T) {
	monitor, err := metrics.NewMonitor(metrics.MonitorOptions{Process: "extproc"})
	if err != nil {
		t.Fatal(err)
	}
	timeouts, counted := recordedTimeouts{}, &countedReloads{}
	directory, err := extproc.NewDirectory(extproc.DirectoryOptions{
		Monitor: monitor, IdleTimeouts: timeouts, DefaultIdleTimeout: 30 * time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	mine := service()
	mine[0].Service.Session.IdleTimeout = time.Hour
	mine[0].Service.Name = "mine"
	directory.Set(append(service(), mine...), true)
	core, logs := observer.New(zap.InfoLevel)
	file := writeConfig(t, goodConfig)
	r := newReloader(loadConfig(t, file), directory, counted, zap.New(core))

	steps := []struct {
		name, text, log string
		counted         int
		chat            time.Duration
		cleanup         time.Duration
	}{
		{"no change", goodConfig, "", 0, 30 * time.Minute, time.Minute},
		{"bad", strings.Replace(goodConfig, "30m", "soon", 1), "refused", 1, 30 * time.Minute, time.Minute},
		{"taken back", goodConfig, "", 2, 30 * time.Minute, time.Minute},
		{"live", strings.Replace(goodConfig, "30m, cleanup_interval: 1m", "5m, cleanup_interval: 1s", 1), "reloaded", 3, 5 * time.Minute, time.Second},
		{"back", goodConfig, "reloaded", 4, 30 * time.Minute, time.Minute},
		{"not live", goodConfig + "xds: 127.0.0.1:19000\n", "next start", 5, 30 * time.Minute, time.Minute},
		{"names", goodConfig + "xds: 127.0.0.1:19000\nadmin_hosts: [admin.example.com]\n", "next start", 6, 30 * time.Minute, time.Minute},
		{"table", goodConfig + "xds: 127.0.0.1:19000\nadmin_hosts: [admin.example.com]\nfast_path: {table: table}\n", "next start", 7, 30 * time.Minute, time.Minute},
	}
	for _, s := range steps {
		if err := os.WriteFile(file, []byte(s.text), 0o600); err != nil {
			t.Fatal(err)
		}
		r.load(file)
		var messages []string
		for _, e := range logs.TakeAll() {
			messages = append(messages, e.Message)
		}
		said := strings.Join(messages, "; ")
		if !strings.Contains(said, s.log) || (s.log == "") != (said == "") {
			t.Errorf("%s: said %q, want %q", s.name, said, s.log)
		}
		if len(*counted) != s.counted {
			t.Errorf("%s: %d reloads counted, want %d", s.name, len(*counted), s.counted)
		}
		if timeouts["chat"] != s.chat || timeouts["mine"] != time.Hour || r.cleanupInterval() != s.cleanup {
			t.Errorf("%s: timeouts %v, cleanup %v", s.name, timeouts, r.cleanupInterval())
		}
	}
	if (*counted)[0] || !(*counted)[1] {
		t.Errorf("reloads counted as %v", *counted)
	}
}

func TestAppReloadsItsFile(t *testing.T) {
	file := writeConfig(t, goodConfig)
	a, logs, stop := startApp(t, func(o *Options) { o.ConfigFile = file })
	defer stop()
	text := strings.Replace(goodConfig, "cleanup_interval: 1m", "cleanup_interval: 2m", 1)
	looks := 0
	harness.Eventually(t, harness.Patience, "the file is reloaded", func() error {
		if a.reload.cleanupInterval() == 2*time.Minute {
			return nil
		}
		// Perhaps nobody watched it yet; and one that is still being written is not read.
		if looks++; looks%100 == 1 {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return fmt.Errorf("said: %v", logs.All())
	})
}
