package stickiness

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stateful-route/stateful-route/e2e/harness"
	"github.com/stateful-route/stateful-route/stickiness/adapters/fleet"
	"github.com/stateful-route/stateful-route/stickiness/adapters/statefulroute"
	"github.com/stateful-route/stateful-route/stickiness/check"
	"github.com/stateful-route/stateful-route/stickiness/gateway"
	"github.com/stateful-route/stateful-route/stickiness/play"
	"github.com/stateful-route/stateful-route/stickiness/pod"
	"github.com/stateful-route/stateful-route/stickiness/schedule"
)

func TestMain(m *testing.M) {
	pod.RunIfChild()
	goleak.VerifyTestMain(m)
}

// short is enough that every schedule's faults meet sessions that are known, and new ones.
func short() schedule.Load {
	return schedule.Load{Sessions: 24, Rate: 36, Duration: 4 * time.Second}
}

// TestNoSessionIsSilentlyServedWrong plays what `make rivals` plays in full.
func TestNoSessionIsSilentlyServedWrong(t *testing.T) {
	dir := t.TempDir()
	programs, err := harness.Build(t.Context(), dir, "xds-server", "extproc")
	if err != nil {
		t.Fatal(err)
	}
	known := statefulroute.With(programs.Dir, fleet.Program{Name: programs.Envoy})
	for _, of := range []struct{ adapter, schedules string }{
		{"stateful-route", "drain control-plane-away"},
		{"stateful-route-fast", "rolling-replacement pod-moved gateway-reload gateway-kill forged-headers"},
		{"stateful-route-replicas", "two-gateways-race two-gateways-kill"},
		{"stateful-route-cookie", "stale-cookies doubled-cookies"},
	} {
		i := slices.IndexFunc(known, func(a gateway.Adapter) bool { return a.Name == of.adapter })
		a := known[i]
		for _, s := range schedule.All() {
			if slices.Contains(strings.Fields(of.schedules), s.Name) {
				t.Run(a.Name+"/"+s.Name, func(t *testing.T) {
					t.Parallel()
					if err := a.Available(t.Context()); err != nil {
						t.Skip(err)
					}
					judge(t, a, s)
				})
			}
		}
	}
}

func judge(t *testing.T, a gateway.Adapter, s schedule.Schedule) {
	dir, err := os.MkdirTemp("", "stickiness") //nolint:usetesting // sockets lie in it, and their paths may not be long
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	o := play.Play(t.Context(), play.Run{
		Adapter: a, Schedule: s, Seed: 1, Load: short(), Dir: dir,
		Waits: play.Waits{HealthCheck: time.Second, Answer: time.Minute},
	})
	if o.NotFor != "" || o.Err != nil {
		t.Fatalf("not played: %s %v\n%s", o.NotFor, o.Err, logs(dir))
	}
	r := o.Result
	said := fmt.Sprintf("%v, because %v", r.Counts, r.Reasons)
	if !r.Kept() {
		t.Errorf("a session was silently served wrong: %s\n%s", said, logs(dir))
	}
	if r.Counts[check.Right] < r.Records/8 { // a gateway that is killed takes its time
		t.Errorf("of %d answers the right ones are few: %s\n%s", r.Records, said, logs(dir))
	}
}

// logs are the ends of what the programs said.
func logs(dir string) string {
	var b strings.Builder
	files, err := filepath.Glob(filepath.Join(dir, "gateway", "*", "*.log"))
	if err != nil {
		return err.Error()
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err.Error()
		}
		fmt.Fprintf(&b, "\n%s:\n%s\n", strings.TrimPrefix(file, dir), text[max(0, len(text)-3000):])
	}
	return b.String()
}
