package balancing_test

import (
	"fmt"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/balancing"
)

var t0 = time.Unix(1_000_000, 0)

func podName(i int) string { return fmt.Sprintf("pod-%d", i) }

// makePods returns n ready pods of weight 1, or of the given weights.
func makePods(n int, weights ...uint32) []statefulroute.Pod {
	pods := make([]statefulroute.Pod, n)
	for i := range pods {
		pods[i] = statefulroute.Pod{Name: podName(i), Weight: 1}
		if i < len(weights) {
			pods[i].Weight = weights[i]
		}
	}
	return pods
}

func newBalancer(t testing.TB, opts balancing.Options, pods []statefulroute.Pod) *balancing.Balancer {
	t.Helper()
	b, err := balancing.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	b.SetPods(t0, pods)
	return b
}

func mustPick(t testing.TB, b *balancing.Balancer, now time.Time, key string) balancing.PickResult {
	t.Helper()
	result, err := b.Pick(now, key)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func loadOf(t testing.TB, b *balancing.Balancer, pod string) statefulroute.Load {
	t.Helper()
	l, ok := b.Loads()[pod]
	if !ok {
		t.Fatalf("no load of pod %q", pod)
	}
	return l
}
