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

func TestOneRequestAllocatesNothing(t *testing.T) {
	for _, kind := range requestKinds {
		s := newTestMonitor(t, MonitorOptions{}).Service("chat")
		if n := testing.AllocsPerRun(1000, func() { kind.record(s) }); n != 0 {
			t.Errorf("a %s request's metrics allocate %v times, want 0", kind.name, n)
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
