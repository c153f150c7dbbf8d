package e2e

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/e2e/harness"
)

// published are the metrics that outsiders rely on.
var published = []string{
	"stateful_route_requests_total", "stateful_route_request_duration_seconds", "stateful_route_request_errors_total",
	"stateful_route_cache_hits_total", "stateful_route_cache_misses_total", "stateful_route_cache_size",
	"stateful_route_cache_evictions_total", "stateful_route_load_balancer_requests_total",
	"stateful_route_pod_selection_duration_seconds", "stateful_route_health_check_total",
	"stateful_route_health_check_duration_seconds", "stateful_route_health_check_failures_total",
	"stateful_route_pod_weight", "stateful_route_pod_sessions", "stateful_route_sessions_rebound_total",
	"stateful_route_misroutes_total", "stateful_route_xds_push_duration_seconds",
	"stateful_route_xds_nacks_total", "stateful_route_analysis_issues",
}

// posting marks the test's own requests: those of the harness are GETs.
func posting(r *http.Request) { r.Method = http.MethodPost }

// timedLoad sends rounds requests of each session, and returns the time that
// clients waited for each pod.
func timedLoad(t *testing.T, s *harness.Stack, keys []string, rounds int) (byPod map[string]int, waited map[string]time.Duration, owner map[string]string) {
	t.Helper()
	byPod, waited, owner = map[string]int{}, map[string]time.Duration{}, map[string]string{}
	places := []func(string) harness.Edit{harness.InHeader, harness.InCookie, harness.InQuery, harness.InPath}
	var mu sync.Mutex
	harness.Each(len(keys)*rounds, 8, func(i int) {
		key := keys[i%len(keys)]
		began := time.Now()
		a, err := s.OK(places[i%len(keys)%4](key), posting)
		took := time.Since(began)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			t.Error(err)
			return
		}
		byPod[a.Pod]++
		waited[a.Pod] += took
		owner[key] = a.Pod
	})
	return byPod, waited, owner
}

func TestMetricsTellWhatHappened(t *testing.T) {
	t.Parallel()
	svc := harness.Chat(3)
	// No check fails for want of time, however busy the machine is.
	svc.HealthCheck = map[string]any{"http": "/healthz", "interval": "2s", "timeout": "2s"}
	s := start(t, harness.Options{Services: []harness.Service{svc}, Analyzer: map[string]any{"interval": "1s"}})
	const sessions, rounds, delay = 60, 10, 50 * time.Millisecond
	extproc, xds := s.ExtprocAdmin+"/metrics", s.XDSAdmin+"/metrics"
	before := lasted(t, extproc, "chat-0") // the harness's own requests
	s.Misbehave(t, "chat-0", `{"delay":"`+delay.String()+`"}`)
	keys := harness.Keys(sessions)
	byPod, waited, owner := timedLoad(t, s, keys, rounds)

	is := func(url string, want float64, name string, labels ...string) {
		t.Helper()
		harness.Eventually(t, harness.Patience, fmt.Sprintf("%s%v is %v", name, labels, want), func() error {
			got, err := harness.Metric(url, name, labels...)
			if err == nil && got != want {
				err = fmt.Errorf("it is %v", got)
			}
			return err
		})
	}
	for pod, n := range byPod {
		is(extproc, float64(n), "stateful_route_requests_total", `method="POST"`, `pod="`+pod+`"`)
		is(extproc, float64(len(harness.On(owner, pod))), "stateful_route_pod_sessions", `pod="`+pod+`"`)
		is(extproc, float64(len(harness.On(owner, pod))), "stateful_route_load_balancer_requests_total", `pod="`+pod+`"`, `result="success"`)
	}
	is(extproc, sessions*rounds, "stateful_route_requests_total", `method="POST"`)
	is(extproc, sessions*(rounds-1), "stateful_route_cache_hits_total")
	is(extproc, sessions, "stateful_route_cache_misses_total")
	is(extproc, sessions, "stateful_route_cache_size")
	is(extproc, sessions, "stateful_route_pod_selection_duration_seconds_count")
	is(extproc, 0, "stateful_route_misroutes_total")
	is(extproc, 0, "stateful_route_sessions_rebound_total")
	is(extproc, 0, "stateful_route_cache_evictions_total")
	for _, process := range []string{xds, extproc} {
		is(process, 0, "stateful_route_config_reloads_total")
		is(process, 1, "stateful_route_config_last_reload_successful")
	}
	is(xds, 0, "stateful_route_xds_nacks_total")
	is(xds, 0, "stateful_route_analysis_issues")
	is(xds, 0, "stateful_route_health_check_failures_total")
	durations(t, lasted(t, extproc, "chat-0")-before, delay, byPod["chat-0"], waited["chat-0"])
	weights(t, s, xds)
	for _, kind := range []string{"LDS", "RDS", "CDS", "EDS"} {
		if n, err := harness.Metric(xds, "stateful_route_xds_push_duration_seconds_count", `type="`+kind+`"`); err != nil || n == 0 {
			t.Errorf("%v pushes of %s timed, %v", n, kind, err)
		}
	}

	failing(t, s, keys)
	var served strings.Builder
	for name, urls := range s.MetricURLs() {
		text, err := harness.Body(urls[0]) // there is one of each
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			if strings.Contains(text, key) {
				t.Fatalf("the metrics of %s hold a session key", name)
			}
		}
		served.WriteString(text)
	}
	for _, name := range published {
		if !strings.Contains(served.String(), "\n# TYPE "+name+" ") {
			t.Errorf("%s is not served", name)
		}
	}

	s.Change(t, func(c *harness.Config) { c.Services[0].Pods.Static = c.Services[0].Pods.Static[:2] })
	harness.Eventually(t, harness.Patience, "nothing is served of a pod that is gone", func() error {
		v, err := harness.Metric(xds, "stateful_route_pod_weight", `pod="chat-2"`)
		if errors.Is(err, harness.ErrNoMetric) {
			return nil
		}
		return errors.Join(err, fmt.Errorf("its weight is %v", v))
	})
	is(xds, 1, "stateful_route_config_reloads_total", `result="accepted"`)
	is(xds, 0, "stateful_route_config_reloads_total", `result="refused"`)
}

// durations checks that a slow pod's are what its clients waited, from their
// requests to the ends of their answers.
func durations(t *testing.T, sum float64, delay time.Duration, requests int, waited time.Duration) {
	t.Helper()
	if least := float64(requests) * delay.Seconds(); requests == 0 || sum < least || sum > waited.Seconds() {
		t.Errorf("%d requests of a pod that takes %v lasted %v s together, and clients waited %v", requests, delay, sum, waited)
	}
}

// lasted is how long the requests of a pod took together, in seconds.
func lasted(t *testing.T, url, pod string) float64 {
	t.Helper()
	sum, err := harness.Metric(url, "stateful_route_request_duration_seconds_sum", `pod="`+pod+`"`)
	if err != nil && !errors.Is(err, harness.ErrNoMetric) {
		t.Fatal(err)
	}
	return sum
}

// weights checks that the gauges are the weights that Envoy has.
func weights(t *testing.T, s *harness.Stack, url string) {
	t.Helper()
	harness.Eventually(t, harness.Patience, "the weights are those of Envoy", func() error {
		have, err := s.EnvoyWeights("chat")
		if err != nil {
			return err
		}
		for pod, w := range have {
			v, err := harness.Metric(url, "stateful_route_pod_weight", `pod="`+pod+`"`)
			if err != nil || math.Round(v) != float64(w) {
				return errors.Join(err, fmt.Errorf("%s has %v, in Envoy %d", pod, v, w))
			}
		}
		return nil
	})
}

// failing has a pod fail and checks that each failure seen is counted as what it
// was.
func failing(t *testing.T, s *harness.Stack, keys []string) {
	t.Helper()
	s.Misbehave(t, "chat-2", `{"fail":1}`)
	url := s.ExtprocAdmin + "/metrics"
	harness.Eventually(t, harness.Patience, "failures are counted", func() error {
		for _, key := range keys {
			if _, err := s.Get(harness.InHeader(key), posting); err != nil {
				return err
			}
		}
		failed, err := harness.Metric(url, "stateful_route_request_errors_total", `pod="chat-2"`, `kind="upstream"`)
		if err != nil {
			return err
		}
		answered, err := harness.Metric(url, "stateful_route_requests_total", `pod="chat-2"`, `code="5xx"`)
		if err == nil && (failed == 0 || failed != answered) {
			err = fmt.Errorf("%v failures, %v answers with a 5xx", failed, answered)
		}
		return err
	})
}
