package xds

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	statefulroute "github.com/stateful-route/stateful-route"
)

// manyPods is a desk with n pods, and a client's report of all of them.
func manyPods(n int) (*Desk, []*endpointv3.ClusterStats) {
	var pods []statefulroute.Pod
	var stats []*endpointv3.UpstreamEndpointStats
	for i := range n {
		p := testPod(fmt.Sprintf("chat-%d", i), 80)
		p.Address = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)
		pods = append(pods, p)
		stats = append(stats, podStats(p, 1, 0, 0))
	}
	return deskWith(pods...), clusterStats(stats...)
}

// aSecond is what every second costs beside Envoy's resources: a report, the
// look at which pods are left, and new weights.
func aSecond(tb testing.TB, d *Desk, l *Loads, stats []*endpointv3.ClusterStats, weights map[string]uint32) {
	index := NewIndex(d.Model())
	l.Report(t0, "envoy", stats, index)
	l.Keep(index.Has)
	for pod, w := range weights {
		if err := d.SetWeight("chat", pod, w); err != nil {
			tb.Fatal(err)
		}
	}
}

func weightsOf(d *Desk) map[string]uint32 {
	out := map[string]uint32{}
	for _, m := range d.Model().Services[0].Members {
		out[m.Name] = 7
	}
	return out
}

func BenchmarkASecondOf10000Pods(b *testing.B) {
	d, stats := manyPods(10_000)
	l, weights := NewLoads(), weightsOf(d)
	for b.Loop() {
		aSecond(b, d, l, stats, weights)
	}
}

// Ten times the pods take about ten times as long, not a hundred times.
func TestTheLoadLoopTakesTimeInProportionToThePods(t *testing.T) {
	fastest := func(n int) time.Duration {
		d, stats := manyPods(n)
		l, weights, best := NewLoads(), weightsOf(d), time.Hour
		for range 5 {
			began := time.Now()
			aSecond(t, d, l, stats, weights)
			best = min(best, time.Since(began))
		}
		return best
	}
	few, many := fastest(1000), fastest(10_000)
	if many > 50*few {
		t.Errorf("1,000 pods take %v, 10,000 take %v", few, many)
	}
}
