package e2e

import (
	"syscall"
	"testing"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// An extproc that stalls for longer than message_timeout lets requests pass
// unbound; its metrics show that this happened. They need not show every one:
// where extproc reads a request and Envoy's reset together, the answer may still
// seem to go out. Hence several rounds, and none counted that was not late.
func TestLateAnswersAreCounted(t *testing.T) {
	t.Parallel()
	s := start(t, harness.Options{MessageTimeout: "50ms"})
	stalled, late := 0, 0.0
	harness.Eventually(t, harness.Patience, "late answers are counted", func() (err error) {
		s.Extproc.Signal(syscall.SIGSTOP)
		harness.Each(20, 20, func(int) {
			if _, err := s.OK(harness.InHeader(harness.Keys(1)[0])); err != nil {
				t.Error(err)
			}
		})
		stalled += 20
		s.Extproc.Signal(syscall.SIGCONT)
		if late, err = harness.Metric(s.ExtprocAdmin+"/metrics", "stateful_route_request_errors_total", `kind="late"`, `pod=""`); err == nil && late == 0 {
			err = errNotYet
		}
		return err
	})
	t.Logf("%v of %d late answers counted", late, stalled)
	if late > float64(stalled) {
		t.Error("more than there were")
	}
}
