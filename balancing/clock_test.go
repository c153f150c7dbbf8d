package balancing_test

import (
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing"
	"github.com/stateful-route/stateful-route/internal/monotonic/clocktest"
)

// What is known of the pods, and how far a pod's slow start has come, does not change
// because the wall clock is set.
func TestTheWallClockMayBeSet(t *testing.T) {
	for _, set := range []time.Duration{time.Hour, -time.Hour} {
		began := time.Now()
		var seen struct {
			weight, errors float64
			took           time.Duration
		}
		registry := balancing.NewRegistry()
		err := registry.Register("look", func(balancing.Options) (balancing.Strategy, error) {
			return looker(func(_ string, pods balancing.View) int {
				for i := range pods.Len() {
					if pods.Name(i) == "b" {
						seen.weight = pods.Weight(i)
					} else {
						seen.errors, seen.took = pods.ErrorRate(i), pods.ResponseTime(i)
					}
				}
				return 0
			}), nil
		}, balancing.Traits{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := balancing.New(balancing.Options{Strategy: "look", Registry: registry, SlowStart: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		pods := []statefulroute.Pod{{Name: "a", Weight: 1}, {Name: "b", Weight: 1}}
		b.SetPods(began, pods[:1])
		b.SetPods(began, pods)
		result, err := b.Start(began, "a")
		if err != nil {
			t.Fatal(err)
		}
		result.Done(began, balancing.Outcome{Kind: balancing.Failure, ResponseTime: 100 * time.Millisecond})
		look := func(now time.Time) any {
			result, err := b.Pick(now, "k")
			if err != nil {
				t.Fatal(err)
			}
			result.Cancel()
			return seen
		}
		before := look(began.Add(time.Second))
		if after := look(clocktest.Set(began.Add(time.Second), set)); after != before {
			t.Errorf("set by %s: %+v became %+v", set, before, after)
		}
		if at := b.Stats().LastRequest; clocktest.Set(began.Add(time.Second), set).Sub(at) != 0 {
			t.Errorf("set by %s: the last request was at %s", set, at)
		}
	}
}

type looker func(key string, pods balancing.View) int

func (l looker) Pick(key string, pods balancing.View) int { return l(key, pods) }
