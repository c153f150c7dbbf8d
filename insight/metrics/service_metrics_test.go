package metrics

import (
	"testing"
	"time"
)

// What the request path records: of a request whose session is bound, and of the
// first one of a session, which costs most.
var requestKinds = []struct {
	name   string
	record func(*ServiceMetrics)
}{
	{"bound", func(s *ServiceMetrics) {
		s.TableHit()
		s.Request("chat-0", "GET", 200, 18*time.Millisecond, "")
	}},
	{"new", func(s *ServiceMetrics) {
		s.TableMiss()
		s.Selected("chat-0", 3*time.Microsecond, true)
		s.Request("chat-0", "GET", 200, 18*time.Millisecond, "")
	}},
}

// TestOneRequestCostsLittle takes the best of many short runs, some of which
// nothing else on the machine disturbs. What several cores cost each other on the
// same counters is in design/insight.md: there is no best of that.
func TestOneRequestCostsLittle(t *testing.T) {
	const bound = 300 * time.Nanosecond
	for _, kind := range requestKinds {
		s := newTestMonitor(t, MonitorOptions{}).Service("chat")
		if n := testing.AllocsPerRun(1000, func() { kind.record(s) }); n != 0 {
			t.Errorf("a %s request's metrics allocate %v times, want 0", kind.name, n)
		}
		if raceEnabled {
			continue
		}
		const runs, each = 500, 2000
		best := time.Hour
		for range runs {
			began := time.Now()
			for range each {
				kind.record(s)
			}
			best = min(best, time.Since(began)/each)
		}
		t.Logf("a %s request's metrics cost %v", kind.name, best)
		if best > bound {
			t.Errorf("a %s request's metrics cost %v, want at most %v", kind.name, best, bound)
		}
	}
}

func BenchmarkOneRequest(b *testing.B) {
	for _, kind := range requestKinds {
		b.Run(kind.name, func(b *testing.B) {
			s := newTestMonitor(b, MonitorOptions{}).Service("chat")
			b.ReportAllocs()
			for b.Loop() {
				kind.record(s)
			}
		})
	}
}

// BenchmarkOneRequestParallel is all cores on the counters of one pod, with no
// work between.
func BenchmarkOneRequestParallel(b *testing.B) {
	for _, kind := range requestKinds {
		b.Run(kind.name, func(b *testing.B) {
			s := newTestMonitor(b, MonitorOptions{}).Service("chat")
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					kind.record(s)
				}
			})
		})
	}
}
