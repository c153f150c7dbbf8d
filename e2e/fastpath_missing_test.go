package e2e

import (
	"strings"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// An Envoy that cannot load the module that its node names says so once, and serves
// without it.
func TestAnEnvoyWithoutTheModuleItNamesServes(t *testing.T) {
	t.Parallel()
	for _, variant := range variants {
		t.Run(variant.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, harness.Options{FastPath: harness.FastPathOn, Module: "/nowhere/libmissing.so", StateOfTheWorld: variant.sotw})
			s.WaitPods(t)
			first, err := s.OK(harness.InHeader("alice"))
			if err != nil {
				t.Fatal(err)
			}
			for range 20 {
				if a, err := s.OK(harness.InHeader("alice")); err != nil || a.Pod != first.Pod {
					t.Fatalf("served by %q after %q, %v", a.Pod, first.Pod, err)
				}
			}
			if n, err := s.EnvoyStat("listener_manager.lds.update_rejected"); err != nil || n != 1 {
				t.Errorf("listeners were refused %d times, %v", n, err)
			}
			if n, err := harness.Metric(s.XDSAdmin+"/metrics", "stateful_route_xds_nacks_total", `type="LDS"`); err != nil || n != 1 {
				t.Errorf("refusals counted: %v, %v", n, err)
			}
			for command, code := range map[string]int{"envoys": 0, "status": 0, "check": 1} {
				ctl := s.Routectl(t, command)
				if got := ctl.ExitCode(); got != code || !strings.Contains(ctl.Log(t), "cannot open shared object file") {
					t.Errorf("routectl %s: exit code %d\n%s", command, got, ctl.Log(t))
				}
			}
			if n := strings.Count(s.XDS.Log(t), "is given listeners without it"); n != 1 {
				t.Errorf("xds-server said it %d times", n)
			}
		})
	}
}
