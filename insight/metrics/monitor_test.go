package metrics

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"go.uber.org/goleak"

	"github.com/stateful-route/stateful-route/insight/analysis"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newTestMonitor(t testing.TB, o MonitorOptions) *Monitor {
	t.Helper()
	o.Process = "test"
	m, err := NewMonitor(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// scrape asks the monitor's handler for its metrics in the given format.
func scrape(t testing.TB, m *Monitor, accept string) string {
	t.Helper()
	server := httptest.NewServer(m.Handler())
	defer server.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", accept)
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("scrape: status %d, error %v: %s", response.StatusCode, err, body)
	}
	server.Client().CloseIdleConnections()
	return string(body)
}

// exerciseAll makes every built-in metric appear.
func exerciseAll(t testing.TB, m *Monitor) {
	t.Helper()
	s := m.Service("chat")
	s.TableHit()
	s.TableMiss()
	s.Rebound("pod_lost")
	s.KeyRefused("too_long")
	s.Selected("chat-0", 3*time.Microsecond, true)
	s.Selected("", time.Microsecond, false)
	s.Request("chat-0", "GET", 200, 18*time.Millisecond, "0af7651916cd43dd8448eb211c80319c")
	s.Request("chat-0", "BREW", 503, 2*time.Second, "")
	s.Error("chat-0", "aborted")
	s.Misroute("chat-0")
	s.PodWeight("chat-0", 70)
	s.PodSessions("chat-0", 12)
	s.HealthCheck("chat-0", time.Millisecond, false)
	m.XDSPush("type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment", 5*time.Millisecond)
	m.XDSNack("cds")
	m.AnalysisIssues(map[analysis.Severity]int{analysis.High: 2})
	m.ConfigReload(true)
	err := m.TableStats(func() TableStats {
		return TableStats{Size: 9, Evictions: map[string]uint64{"capacity": 4}, GhostRestores: 3, Broken: 2}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMonitorSnapshotHoldsWhatHappened(t *testing.T) {
	m := newTestMonitor(t, MonitorOptions{})
	exerciseAll(t, m)
	got, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]float64{
		`stateful_route_cache_hits_total{service="chat"}`:                                           1,
		`stateful_route_cache_misses_total{service="chat"}`:                                         1,
		`stateful_route_cache_size`:                                                                 9,
		`stateful_route_cache_evictions_total{reason="capacity"}`:                                   4,
		`stateful_route_cache_recalls_total`:                                                        3,
		`stateful_route_cache_broken_total`:                                                         2,
		`stateful_route_sessions_rebound_total{reason="pod_lost",service="chat"}`:                   1,
		`stateful_route_keys_refused_total{reason="too_long",service="chat"}`:                       1,
		`stateful_route_load_balancer_requests_total{pod="chat-0",result="success",service="chat"}`: 1,
		`stateful_route_load_balancer_requests_total{pod="",result="failure",service="chat"}`:       1,
		`stateful_route_pod_selection_duration_seconds_count{service="chat"}`:                       2,
		`stateful_route_pod_selection_duration_seconds_sum{service="chat"}`:                         4e-6,
		`stateful_route_requests_total{code="2xx",method="GET",pod="chat-0",service="chat"}`:        1,
		`stateful_route_requests_total{code="5xx",method="other",pod="chat-0",service="chat"}`:      1,
		`stateful_route_request_duration_seconds_sum{pod="chat-0",service="chat"}`:                  2.018,
		`stateful_route_request_errors_total{kind="upstream",pod="chat-0",service="chat"}`:          1,
		`stateful_route_request_errors_total{kind="aborted",pod="chat-0",service="chat"}`:           1,
		`stateful_route_misroutes_total{pod="chat-0",service="chat"}`:                               1,
		`stateful_route_pod_weight{pod="chat-0",service="chat"}`:                                    70,
		`stateful_route_pod_sessions{pod="chat-0",service="chat"}`:                                  12,
		`stateful_route_health_check_total{pod="chat-0",service="chat"}`:                            1,
		`stateful_route_health_check_failures_total{pod="chat-0",service="chat"}`:                   1,
		`stateful_route_health_check_duration_seconds_count{service="chat"}`:                        1,
		`stateful_route_xds_push_duration_seconds_count{type="EDS"}`:                                1,
		`stateful_route_xds_nacks_total{type="CDS"}`:                                                1,
		`stateful_route_analysis_issues{severity="high"}`:                                           2,
		`stateful_route_analysis_issues{severity="critical"}`:                                       0,
		`stateful_route_config_reloads_total{result="accepted"}`:                                    1,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %v (served: %v), want %v", name, v, ok, want)
		}
	}
	if got["go_goroutines"] < 1 || got["process_resident_memory_bytes"] < 1 {
		t.Errorf("no Go runtime or process metrics: %v, %v", got["go_goroutines"], got["process_resident_memory_bytes"])
	}
}

func TestCustomCollectorIsServedUnderItsNameOnly(t *testing.T) {
	m := newTestMonitor(t, MonitorOptions{})
	rooms := prometheus.NewGauge(prometheus.GaugeOpts{Name: "demo_rooms", Help: "Rooms."})
	rooms.Set(5)
	if err := m.Register("rooms", rooms); err != nil {
		t.Fatal(err)
	}
	if body := scrape(t, m, "text/plain"); !strings.Contains(body, "\ndemo_rooms 5\n") {
		t.Error("the added collector is not served")
	}
	again := prometheus.NewGauge(prometheus.GaugeOpts{Name: "demo_other", Help: "Other."})
	if err := m.Register("rooms", again); err == nil {
		t.Error("a second collector under the same name was accepted")
	}
	clash := prometheus.NewGauge(prometheus.GaugeOpts{Name: "stateful_route_cache_hits_total", Help: "Clash."})
	if err := m.Register("clash", clash); err == nil {
		t.Error("a collector that clashes with a built-in metric was accepted")
	}
	if !m.Unregister("rooms") || m.Unregister("rooms") {
		t.Error("Unregister does not report whether there was a collector")
	}
	if body := scrape(t, m, "text/plain"); strings.Contains(body, "demo_") {
		t.Error("a removed or refused collector is served")
	}
}

func TestOpenMetricsCarriesTheTraceAsExemplar(t *testing.T) {
	m := newTestMonitor(t, MonitorOptions{})
	exerciseAll(t, m)
	body := scrape(t, m, "application/openmetrics-text; version=1.0.0")
	want := `stateful_route_request_duration_seconds_bucket{pod="chat-0",service="chat",le="0.025"} 1 # {trace_id="0af7651916cd43dd8448eb211c80319c"} 0.018`
	if !strings.Contains(body, want) {
		t.Errorf("no exemplar %q in\n%s", want, body)
	}
	m.Service("chat").Refused("GET", "no_pods", 503, 3*time.Millisecond, "1af7651916cd43dd8448eb211c80319c")
	want = `stateful_route_request_duration_seconds_bucket{pod="",service="chat",le="0.005"} 1 # {trace_id="1af7651916cd43dd8448eb211c80319c"} 0.003`
	if body := scrape(t, m, "application/openmetrics-text; version=1.0.0"); !strings.Contains(body, want) {
		t.Errorf("no exemplar %q of a refused request in\n%s", want, body)
	}
}

func TestProtobufCarriesNativeHistograms(t *testing.T) {
	m := newTestMonitor(t, MonitorOptions{})
	exerciseAll(t, m)
	body := scrape(t, m, "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited")
	decoder := expfmt.NewDecoder(strings.NewReader(body), expfmt.NewFormat(expfmt.TypeProtoDelim))
	native := 0
	for {
		var family dto.MetricFamily
		if err := decoder.Decode(&family); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, metric := range family.GetMetric() {
			if h := metric.GetHistogram(); strings.HasPrefix(family.GetName(), "stateful_route_") && h != nil {
				if len(h.GetBucket()) == 0 || len(h.GetPositiveSpan()) == 0 {
					t.Errorf("%s has %d classic buckets and %d native spans", family.GetName(), len(h.GetBucket()), len(h.GetPositiveSpan()))
				}
				native++
			}
		}
	}
	if native != 4 {
		t.Errorf("%d histograms served, want 4", native)
	}
}

func TestPromtoolFindsNothing(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed")
	}
	m := newTestMonitor(t, MonitorOptions{})
	exerciseAll(t, m)
	check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	check.Stdin = strings.NewReader(scrape(t, m, "text/plain"))
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// TestSeriesStayBounded sends what a hostile client can vary and a cluster can
// grow to.
func TestSeriesStayBounded(t *testing.T) {
	requests := 1_000_000
	if testing.Short() || raceEnabled {
		requests = 50_000
	}
	m := newTestMonitor(t, MonitorOptions{})
	s := m.Service("chat")
	pods := []string{"chat-0", "chat-1", "chat-2"}
	random := rand.New(rand.NewPCG(1, 2))
	for range requests {
		r := random.Uint64()
		method := fmt.Sprintf("M%x", r)
		if r%2 == 0 {
			method = methods[r/2%uint64(len(methods))]
		}
		pod := pods[r%3]
		s.Selected(pod, time.Duration(r%5000), true)
		s.Request(pod, method, int(r%700), time.Duration(r%10_000_000_000), "")
		s.Error(pod, method)
		s.Rebound(method)
		m.XDSNack(method)
	}
	series := 0
	for line := range strings.Lines(scrape(t, m, "text/plain")) {
		if !strings.HasPrefix(line, "#") {
			series++
		}
	}
	if series > 2000 {
		t.Errorf("%d requests left %d series, want at most 2,000", requests, series)
	}
	t.Logf("%d requests left %d series", requests, series)
}

func TestPodsPastTheBoundAreCountedTogether(t *testing.T) {
	m := newTestMonitor(t, MonitorOptions{MaxPods: 3})
	one, two := m.Service("one"), m.Service("two")
	for i := range 10 {
		one.Request(fmt.Sprintf("pod-%d", i), "GET", 200, time.Millisecond, "")
		two.Request(fmt.Sprintf("pod-%d", i), "GET", 200, time.Millisecond, "")
		one.PodWeight(fmt.Sprintf("pod-%d", i), 7)
	}
	expectValues(t, m, map[string]float64{
		`stateful_route_requests_total{code="2xx",method="GET",pod="pod-2",service="one"}`: 1,
		`stateful_route_requests_total{code="2xx",method="GET",pod="other",service="one"}`: 7,
		`stateful_route_requests_total{code="2xx",method="GET",pod="other",service="two"}`: 7,
		`stateful_route_pod_weight{pod="pod-2",service="one"}`:                             7,
	}, `pod="pod-3"`, `stateful_route_pod_weight{pod="other"`)

	// A pod that goes makes room for the next, once no service knows it.
	one.ForgetPod("pod-0")
	one.Request("late", "GET", 200, time.Millisecond, "")
	two.KeepPods([]string{"pod-1", "pod-2"})
	one.Request("new", "GET", 200, time.Millisecond, "")
	expectValues(t, m, map[string]float64{
		`stateful_route_requests_total{code="2xx",method="GET",pod="other",service="one"}`: 8,
		`stateful_route_requests_total{code="2xx",method="GET",pod="new",service="one"}`:   1,
	}, `pod="pod-0"`, `pod="late"`)
}

// expectValues compares the snapshot with want and fails on a name that
// contains one of the absent texts.
func expectValues(t *testing.T, m *Monitor, want map[string]float64, absent ...string) {
	t.Helper()
	got, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%s = %v, want %v", name, got[name], v)
		}
	}
	for name := range got {
		for _, text := range absent {
			if strings.Contains(name, text) {
				t.Errorf("%s is served", name)
			}
		}
	}
}

func TestServicesPastTheBoundAreCountedTogether(t *testing.T) {
	m := newTestMonitor(t, MonitorOptions{MaxServices: 3})
	for i := range 10 {
		m.Service(fmt.Sprintf("service-%d", i)).TableHit()
	}
	expectValues(t, m, map[string]float64{
		`stateful_route_cache_hits_total{service="service-2"}`: 1,
		`stateful_route_cache_hits_total{service="other"}`:     7,
	}, `service="service-3"`)
}

func TestCountersOfRareEventsStartAtZero(t *testing.T) {
	m := newTestMonitor(t, MonitorOptions{})
	m.Service("chat").PodSessions("chat-0", 0)
	m.Service("chat").Request("chat-1", "GET", 200, time.Millisecond, "")
	m.XDSPush("EDS", time.Millisecond)
	got, err := m.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		`stateful_route_misroutes_total{pod="chat-0",service="chat"}`,
		`stateful_route_misroutes_total{pod="chat-1",service="chat"}`,
		`stateful_route_request_errors_total{kind="upstream",pod="chat-0",service="chat"}`,
		`stateful_route_request_errors_total{kind="upstream",pod="chat-1",service="chat"}`,
		`stateful_route_sessions_rebound_total{reason="removed",service="chat"}`,
		`stateful_route_xds_nacks_total{type="EDS"}`,
		`stateful_route_config_reloads_total{result="accepted"}`,
		`stateful_route_config_reloads_total{result="refused"}`,
	} {
		if v, served := got[name]; !served || v != 0 {
			t.Errorf("%s = %v (served: %v), want 0", name, v, served)
		}
	}
	if got["stateful_route_config_last_reload_successful"] != 1 {
		t.Error("a process that was never asked to reload looks as if that had failed")
	}
}

func TestMonitorOptionsAreChecked(t *testing.T) {
	for _, o := range []MonitorOptions{{}, {Process: "x", MaxPods: -1}, {Process: "x", MaxServices: -1}} {
		if _, err := NewMonitor(o); err == nil {
			t.Errorf("NewMonitor(%+v) accepted", o)
		}
	}
}
