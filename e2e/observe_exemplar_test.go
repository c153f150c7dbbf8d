package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// A real Prometheus keeps what the classic format cannot carry: the trace of a
// request beside its duration, and native histograms.
func TestPrometheusKeepsExemplarsAndNativeHistograms(t *testing.T) {
	t.Parallel()
	harness.Tool(t, "prometheus")
	collector := harness.StartCollector(t)
	spare := harness.Service{
		Name: "spare", Match: map[string]any{"prefix": "/spare"}, Session: harness.Session{Key: harness.AllSources()},
		Pods: harness.Pods{Static: []harness.Pod{{Name: "spare-0"}}},
	}
	s := start(t, harness.Options{Services: []harness.Service{harness.Chat(3), spare}, Env: collector.Environment()})
	s.Order(t, "spare", "spare-0", "maintenance")
	traces := s.StartPrometheus(t, rulesFile, "exemplar-storage")
	native := s.StartPrometheus(t, rulesFile, "native-histograms")
	s.Traffic(t, harness.Keys(6), 50*time.Millisecond)

	for _, selector := range []string{
		`stateful_route_request_duration_seconds_bucket{service="chat", pod=~"chat-.*"}`,
		`stateful_route_request_duration_seconds_bucket{service="spare", pod=""}`,
	} {
		harness.Eventually(t, harness.Patience, "the trace of an exemplar of "+selector+" is at the collector", func() error {
			if _, err := s.Get(harness.InHeader("nobody"), harness.Path("/spare/x")); err != nil {
				return err
			}
			exemplars, err := traces.Exemplars(selector)
			if err != nil {
				return err
			}
			for _, e := range exemplars {
				if _, err := only(collector.Trace(e["trace_id"]), extprocTraces, "request"); err == nil {
					return nil
				}
			}
			return fmt.Errorf("exemplars %v", exemplars)
		})
	}
	for _, expr := range []string{
		`histogram_count(rate(stateful_route_request_duration_seconds{service="chat"}[5m])) > 0`,
		`histogram_quantile(0.99, sum(rate(stateful_route_request_duration_seconds{service="chat"}[5m]))) > 0`,
	} {
		harness.Eventually(t, harness.Patience, "a native histogram answers "+expr, func() error { return hasData(native, expr) })
	}
	// dashboards/README.md says what such a Prometheus has to be told.
	classic, err := native.Query("stateful_route_request_duration_seconds_bucket")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("with native histograms on it keeps %d classic series", len(classic))
	if err := everyHistogram(native); err != nil {
		t.Error(err)
	}
}

// everyHistogram checks that those which this stack fills are all native.
func everyHistogram(p *harness.Prometheus) error {
	var missing []error
	for _, name := range published {
		if !strings.HasSuffix(name, "_seconds") || name == "stateful_route_health_check_duration_seconds" {
			continue // no histogram, or of checks that this stack does not make
		}
		if err := hasData(p, "histogram_count("+name+") > 0"); err != nil {
			missing = append(missing, err)
		}
	}
	return errors.Join(missing...)
}
