package analysis

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("update", false, "write the golden files anew")

func TestTextReportGolden(t *testing.T) {
	busy := Rule{Name: "Busy", Metric: CPUUsage, Compare: Above, Threshold: .1, Severity: Low, Suggestion: "Give it another core", Effort: "low"}
	c := newCluster(t, AnalyzerOptions{Historical: true, Rules: []Rule{busy}}, "chat-0", "chat-1", "chat-2", "chat-3")
	c.run(40)
	c.pods["chat-1"].errors = .4
	c.pods["chat-2"].response = 1.8
	c.table.Capacity, c.evicted = c.table.Size, .5
	c.memory = 980 << 20
	c.run(20)
	var b strings.Builder
	if err := c.analyzer.Report(c.now, "").WriteText(&b); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/report.golden.txt"
	if *rewrite {
		if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the report differs from %s (go test -run Golden -update):\n%s", golden, b.String())
	}
}

func TestTextReportHoldsNoControlCharacters(t *testing.T) {
	hostile := "pod\x1b[2J\r\nISSUE"
	a, err := NewAnalyzer(AnalyzerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	a.Observe(noon, Sample{Services: map[string]ServiceSample{"chat": {Pods: map[string]PodSample{hostile: {Requests: 50, Errors: 50}}}}})
	var b strings.Builder
	if err := a.Report(noon, "").WriteText(&b); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\r") || strings.Contains(b.String(), "\nISSUE") {
		t.Errorf("a pod's name reached the terminal raw: %q", b.String())
	}
}

// fullHistory is an hour of a service with 200 pods.
func fullHistory(b *testing.B) *Analyzer {
	b.Helper()
	a, err := NewAnalyzer(AnalyzerOptions{Historical: true})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 720 {
		service := ServiceSample{Hits: 5000, Misses: 100, Pods: map[string]PodSample{}}
		for p := range 200 {
			var times Durations
			for k := range 12 {
				times.AddN(time.Duration(k*k)*time.Millisecond, uint64(10+(i+p)%7))
			}
			service.Pods[fmt.Sprintf("chat-%d", p)] = PodSample{Requests: times.Count(), ResponseTimes: times, InFlight: int64((i * p) % 11)}
		}
		a.Observe(noon.Add(time.Duration(i)*interval), Sample{Services: map[string]ServiceSample{"chat": service}})
	}
	return a
}

// BenchmarkReport is what the first reader after each sample waits for.
func BenchmarkReport(b *testing.B) {
	a := fullHistory(b)
	for b.Loop() {
		clear(a.history.known) // as after each sample
		a.Report(noon, "")
	}
}

// BenchmarkHistory reports the memory that a full history holds.
func BenchmarkHistory(b *testing.B) {
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		a := fullHistory(b)
		runtime.GC()
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(a)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
	}
}
