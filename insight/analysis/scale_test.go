package analysis

import (
	"fmt"
	"runtime"
	"syscall"
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

// What a sample allocates, and a report, grows with the number of pods and no faster,
// in one service and in many, though nearly half of the pods have issues: ten times
// the pods, at most twelve times the allocations. BenchmarkScale has the times.
func TestASampleAndAReportAreLinear(t *testing.T) {
	const slack = 1.2
	few := allocationsOf(t, 2, 100)
	spread, together := allocationsOf(t, 20, 100), allocationsOf(t, 1, 2000)
	t.Logf("2 × 100 pods: %+v; 20 × 100: %+v; 1 × 2,000: %+v", few, spread, together)
	for _, many := range []allocations{spread, together} {
		if many.sample > slack*10*few.sample || many.report > slack*10*few.report {
			t.Errorf("ten times the pods allocate %+v, these %+v", many, few)
		}
	}
}

// allocations of a sample and of the first report after it.
type allocations struct{ sample, report float64 }

func allocationsOf(t *testing.T, services, pods int) allocations {
	t.Helper()
	f := newFleet(t, services, pods, .4)
	f.run(3)
	s := f.sample()
	return allocations{
		sample: testing.AllocsPerRun(1, func() { f.observe(s) }),
		report: testing.AllocsPerRun(1, func() {
			clear(f.analyzer.history.known)
			f.analyzer.Report(f.now, "")
		}),
	}
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
	if n := len(a.Overview(f.now, "").Issues); n != 4 || a.Open()[High] != 4 || a.WeightFactor("service-1", "pod-1-1") == 1 {
		t.Errorf("%d issues, %v open, want 4 of each, and a bad pod's factor below 1", n, a.Open())
	}
	a.mu.Lock() // a sample is being added
	defer a.mu.Unlock()
	if n := len(a.Overview(f.now, "").Issues); n != 4 || a.Open()[High] != 4 || a.WeightFactor("service-1", "pod-1-1") == 1 {
		t.Errorf("%d issues, %v open while a sample is added, want 4 of each, and a bad pod's factor below 1", n, a.Open())
	}
}

// cpuTime is what the process has used of the processors, in milliseconds: a figure
// that other work on the machine changes little.
func cpuTime(b *testing.B) float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return float64(time.Duration(used.Utime.Nano()+used.Stime.Nano())) / float64(time.Millisecond)
}

// BenchmarkScale is an analyzer with a full history, at the sizes that the
// design speaks of: what a sample costs, what the first reader after it waits
// for, and what a pod's history takes. One service of 10,000 pods costs about what a
// hundred of 100 do.
func BenchmarkScale(b *testing.B) {
	for _, c := range []struct{ services, pods int }{{20, 100}, {100, 100}, {1, 10_000}} {
		name := fmt.Sprintf("pods=%dx%d", c.services, c.pods)
		before := heapInUse()
		f := newFleet(b, c.services, c.pods, .1)
		f.run(720)
		each := float64(heapInUse()-before) / float64(c.services*c.pods)
		s := f.sample()
		b.Run(name+"/sample", func(b *testing.B) {
			b.ReportAllocs()
			began := cpuTime(b)
			for b.Loop() {
				f.observe(s)
			}
			b.ReportMetric((cpuTime(b)-began)/float64(b.N), "cpu-ms/op")
			b.ReportMetric(each, "B/pod")
		})
		b.Run(name+"/report", func(b *testing.B) {
			b.ReportAllocs()
			cpu := 0.0
			for b.Loop() {
				b.StopTimer()
				f.observe(s)
				began := cpuTime(b)
				b.StartTimer()
				f.analyzer.Report(f.now, "")
				cpu += cpuTime(b) - began
			}
			b.ReportMetric(cpu/float64(b.N), "cpu-ms/op")
		})
	}
}
