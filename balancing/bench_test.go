package balancing_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/balancing"
)

func benchBalancer(b *testing.B, strategy string, pods int) *balancing.Balancer {
	b.Helper()
	bal, err := balancing.New(balancing.Options{Strategy: strategy})
	if err != nil {
		b.Fatal(err)
	}
	now := time.Unix(1000, 0)
	bal.SetPods(now, makePods(pods))
	for i := range pods {
		t, err := bal.Start(now, podName(i))
		if err != nil {
			b.Fatal(err)
		}
		t.Done(now, balancing.Outcome{Kind: balancing.Success, ResponseTime: time.Duration(i+1) * time.Millisecond})
	}
	return bal
}

// BenchmarkPick is one choice among 1,000 pods and the end of its request.
func BenchmarkPick(b *testing.B) {
	for _, name := range balancing.NewRegistry().Names() {
		b.Run(name, func(b *testing.B) {
			bal := benchBalancer(b, name, 1000)
			now := time.Unix(1001, 0)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				now = now.Add(100 * time.Microsecond)
				t, err := bal.Pick(now, benchKeys[i%len(benchKeys)])
				if err != nil {
					b.Fatal(err)
				}
				t.Done(now, balancing.Outcome{Kind: balancing.Success, ResponseTime: time.Millisecond})
			}
		})
	}
}

// BenchmarkPickWeighted is a weighted_round_robin pick and the end of its request, by
// the number of pods and of different weights. -cpu 1,2 compares one goroutine with two.
func BenchmarkPickWeighted(b *testing.B) {
	for _, c := range []struct{ pods, different int }{{10, 3}, {1000, 1}, {1000, 8}, {1000, 1000}} {
		b.Run(fmt.Sprintf("pods=%d/weights=%d", c.pods, c.different), func(b *testing.B) {
			weights := make([]uint32, c.pods)
			for i := range weights {
				weights[i] = uint32(1 + i%c.different)
			}
			bal := newBalancer(b, balancing.Options{Strategy: "weighted_round_robin"}, makePods(c.pods, weights...))
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					t, err := bal.Pick(t0, "")
					if err != nil {
						b.Error(err)
						return
					}
					t.Done(t0, balancing.Outcome{})
				}
			})
		})
	}
}

// BenchmarkPickHomeBusy is a home_hcl pick whose home can take nothing.
func BenchmarkPickHomeBusy(b *testing.B) {
	bal := benchBalancer(b, "home_hcl", 1000)
	now := time.Unix(1001, 0)
	home, _ := bal.Home(benchKeys[0])
	for range 200 {
		if _, err := bal.Start(now, home); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		t, err := bal.Pick(now, benchKeys[0])
		if err != nil || t.Pod() == home {
			b.Fatal(t.Pod(), err)
		}
		t.Done(now, balancing.Outcome{Kind: balancing.Success, ResponseTime: time.Millisecond})
	}
}

// BenchmarkPickParallel is BenchmarkPick from 1 and from 16 goroutines.
func BenchmarkPickParallel(b *testing.B) {
	for _, name := range balancing.NewRegistry().Names() {
		for _, goroutines := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/goroutines=%d", name, goroutines), func(b *testing.B) {
				bal := benchBalancer(b, name, 1000)
				var next atomic.Int64
				done := make(chan struct{})
				b.ReportAllocs()
				b.ResetTimer()
				for g := range goroutines {
					go func() {
						defer func() { done <- struct{}{} }()
						now := time.Unix(1001, int64(g))
						for next.Load() < int64(b.N) {
							const batch = 64
							next.Add(batch)
							for i := range batch {
								t, err := bal.Pick(now, benchKeys[i])
								if err != nil {
									b.Error(err)
									return
								}
								t.Done(now, balancing.Outcome{Kind: balancing.Success, ResponseTime: time.Millisecond})
							}
						}
					}()
				}
				for range goroutines {
					<-done
				}
			})
		}
	}
}

var benchKeys = func() []string {
	keys := make([]string, 1024)
	for i := range keys {
		keys[i] = fmt.Sprintf("7f3a9c1e-0000-4000-8000-%012d", i)
	}
	return keys
}()
