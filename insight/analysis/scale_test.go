package analysis

import (
	"fmt"
	"runtime"
	"testing"
	"time"
)

// fleet makes up the samples of many services, of whose pods a share fails.
type fleet struct {
	analyzer *Analyzer
	now      time.Time
	names    [][]string // of the pods, by service
	bad      float64
}

func newFleet(tb testing.TB, services, pods int, bad float64) *fleet {
	tb.Helper()
	a, err := NewAnalyzer(AnalyzerOptions{Historical: true})
	if err != nil {
		tb.Fatal(err)
	}
	f := &fleet{analyzer: a, now: noon, bad: bad}
	for s := range services {
		names := make([]string, pods)
		for p := range names {
			names[p] = fmt.Sprintf("pod-%d-%d", s, p)
		}
		f.names = append(f.names, names)
	}
	return f
}

// sample gives every pod 17 classes of response times, as many as the load
// reports have.
func (f *fleet) sample() Sample {
	out := Sample{Services: make(map[string]ServiceSample, len(f.names)), Processes: map[string]ProcessSample{"extproc": {Memory: 1 << 28, MemoryLimit: 1 << 30}}}
	var times Durations
	for k := range 17 {
		times.AddN(time.Millisecond<<k/64, 3)
	}
	for s, names := range f.names {
		service := ServiceSample{Hits: 5000, Misses: 100, Pods: make(map[string]PodSample, len(names))}
		for p, name := range names {
			pod := PodSample{Requests: times.Count(), ResponseTimes: times, InFlight: int64(p % 11), Sessions: 100}
			if float64(p) < f.bad*float64(len(names)) {
				pod.Errors = pod.Requests / 2
			}
			service.Pods[name] = pod
		}
		out.Services[fmt.Sprintf("service-%d", s)] = service
	}
	return out
}

func (f *fleet) observe(s Sample) {
	f.now = f.now.Add(interval)
	f.analyzer.Observe(f.now, s)
}

func (f *fleet) run(samples int) {
	s := f.sample()
	for range samples {
		f.observe(s)
	}
}

func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// The bound of the documentation of Analyzer: however long it runs, a pod's
// history takes no more.
func TestTheHistoryOfAPodIsSmall(t *testing.T) {
	const pods, bound = 100, 26 << 10
	before := heapInUse()
	f := newFleet(t, 1, pods, .1)
	for _, samples := range []int{720, 2 * 720} { // the second goes on after the first
		f.run(samples)
		if each := (heapInUse() - before) / pods; each > bound {
			t.Errorf("%d bytes for each pod after %d more samples, want at most %d", each, samples, bound)
		} else {
			t.Logf("%d bytes for each pod after %d more samples", each, samples)
		}
	}
	if got := f.analyzer.Report(f.now, "").Statistics; got.Samples > 720 || got.Samples <= 720-12 || time.Duration(got.PeriodSeconds)*time.Second != time.Duration(got.Samples)*interval {
		t.Errorf("a full history covers %d samples in %v s", got.Samples, got.PeriodSeconds)
	}
	runtime.KeepAlive(f)
}

// A sample's cost, and a report's, grow with the number of pods and no faster,
// in one service and in many, though nearly half of the pods have issues: ten
// times the pods, at most twelve times the allocations; and as many pods in one
// service take not five times the time that they take in a hundred.
func TestASampleAndAReportAreLinear(t *testing.T) {
	const slack, margin = 1.2, 5
	few := costOf(t, 10, 100)
	spread, together := costOf(t, 100, 100), costOf(t, 1, 10_000)
	t.Logf("10 × 100 pods: %+v; 100 × 100: %+v; 1 × 10,000: %+v", few, spread, together)
	for _, many := range []cost{spread, together} {
		if many.sampleAllocs > slack*10*few.sampleAllocs || many.reportAllocs > slack*10*few.reportAllocs {
			t.Errorf("ten times the pods cost %+v, these %+v", many, few)
		}
	}
	if together.sample > margin*spread.sample || together.report > margin*spread.report {
		t.Errorf("10,000 pods in one service cost %+v, in a hundred services %+v", together, spread)
	}
}

// cost is what a sample and a report cost, the time at best.
type cost struct {
	sampleAllocs, reportAllocs float64
	sample, report             time.Duration
}

func costOf(t *testing.T, services, pods int) (c cost) {
	t.Helper()
	f := newFleet(t, services, pods, .4)
	f.run(3)
	s := f.sample()
	report := func() {
		clear(f.analyzer.history.known)
		f.analyzer.Report(f.now, "")
	}
	c.sampleAllocs = testing.AllocsPerRun(1, func() { f.observe(s) })
	c.reportAllocs = testing.AllocsPerRun(1, report)
	best := func(f func()) time.Duration {
		least := time.Hour
		for range 3 {
			began := time.Now()
			f()
			least = min(least, time.Since(began))
		}
		return least
	}
	c.sample, c.report = best(func() { f.observe(s) }), best(report)
	return c
}

// However long a report takes, samples go on, and so do those who ask for what
// is open.
func TestAReportHoldsNoSampleUp(t *testing.T) {
	f := newFleet(t, 2, 10, .2)
	f.run(20)
	f.analyzer.history.mu.Lock() // a report is being worked out
	defer f.analyzer.history.mu.Unlock()
	s := f.sample()
	f.observe(s)
	a := f.analyzer
	if n := len(a.Overview(f.now, "").Issues); n != 4 || a.Open()[High] != 4 || len(a.Findings()) != 4 {
		t.Errorf("%d issues, %v open, findings %v, want 4 of each", n, a.Open(), a.Findings())
	}
	a.mu.Lock() // a sample is being added
	defer a.mu.Unlock()
	if n := len(a.Overview(f.now, "").Issues); n != 4 || a.Open()[High] != 4 || len(a.Findings()) != 4 {
		t.Errorf("%d issues, %v open, findings %v while a sample is added, want 4 of each", n, a.Open(), a.Findings())
	}
}

// BenchmarkScale is an analyzer with a full history, at the sizes that the
// design speaks of: what a sample costs, what the first reader after it waits
// for, and what a pod's history takes.
func BenchmarkScale(b *testing.B) {
	for _, pods := range []int{2000, 10_000} {
		before := heapInUse()
		f := newFleet(b, pods/100, 100, .1)
		f.run(720)
		each := float64(heapInUse()-before) / float64(pods)
		s := f.sample()
		b.Run(fmt.Sprintf("pods=%d/sample", pods), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.observe(s)
			}
			b.ReportMetric(each, "B/pod")
		})
		b.Run(fmt.Sprintf("pods=%d/report", pods), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				f.observe(s)
				b.StartTimer()
				f.analyzer.Report(f.now, "")
			}
		})
	}
}
