package build

import (
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/stateful-route/stateful-route/xds/state"
)

func testExtprocs(t *testing.T, g state.Gateway) (*clusterv3.Cluster, *httpv3.HttpProtocolOptions) {
	t.Helper()
	c, err := buildExtprocCluster(g)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ValidateAll(); err != nil {
		t.Fatal(err)
	}
	var options httpv3.HttpProtocolOptions
	for _, o := range c.TypedExtensionProtocolOptions {
		if err := o.UnmarshalTo(&options); err != nil {
			t.Fatal(err)
		}
	}
	return c, &options
}

// Whatever message_timeout is: of several replicas, what one that hangs was asked is
// reset while there is time to ask another one, and it is left within 3 s; a single
// one is not left before time is up for every request that waits for it.
func TestTimesOfExtprocsFollowMessageTimeout(t *testing.T) {
	for _, timeout := range []time.Duration{time.Millisecond, 200 * time.Millisecond, 2 * time.Second, 15 * time.Second, time.Hour} {
		several := state.Gateway{Extprocs: []string{"127.0.0.1:1", "unix:/x"}, MessageTimeout: timeout}
		c, options := testExtprocs(t, several)
		ping := options.GetExplicitHttpConfig().GetHttp2ProtocolOptions().GetConnectionKeepalive()
		noticed := ping.GetInterval().AsDuration() + ping.GetTimeout().AsDuration()
		if timeout >= 200*time.Millisecond && noticed > 3*timeout/4 || noticed > 2*time.Second {
			t.Errorf("%v: what hangs is noticed after %v", timeout, noticed)
		}
		check := c.GetHealthChecks()[0]
		failures := time.Duration(check.GetUnhealthyThreshold().GetValue())
		if left := failures * (check.GetInterval().AsDuration() + check.GetTimeout().AsDuration()); left > 3*time.Second {
			t.Errorf("%v: what hangs is left after %v", timeout, left)
		}
		several.Extprocs = several.Extprocs[:1]
		c, _ = testExtprocs(t, several)
		check = c.GetHealthChecks()[0]
		failures = time.Duration(check.GetUnhealthyThreshold().GetValue())
		if left := (failures - 1) * check.GetInterval().AsDuration(); left < max(timeout, 2*time.Second) {
			t.Errorf("%v: a single one that is refused is left after %v", timeout, left)
		}
		if c.GetOutlierDetection() != nil {
			t.Error("a single one may be ejected")
		}
	}
}

// Envoy may leave all replicas but one for the errors that they answer.
func TestOneReplicaIsNeverEjected(t *testing.T) {
	g := state.Gateway{MessageTimeout: time.Second}
	for n := 1; n <= 50; n++ {
		g.Extprocs = append(g.Extprocs, "127.0.0.1:1")
		c, _ := testExtprocs(t, g)
		if n == 1 {
			continue
		}
		// Envoy ejects while the share of those that are is less than this.
		most := int(c.GetOutlierDetection().GetMaxEjectionPercent().GetValue())
		ejected := 0
		for 100*ejected < most*n {
			ejected++
		}
		if ejected != n-1 {
			t.Errorf("of %d replicas %d may be ejected", n, ejected)
		}
	}
}

func TestSessionAffinityNeedsSeveral(t *testing.T) {
	for n, want := range map[int]clusterv3.Cluster_LbPolicy{1: clusterv3.Cluster_ROUND_ROBIN, 2: clusterv3.Cluster_RING_HASH} {
		g := state.Gateway{Extprocs: []string{"127.0.0.1:1", "127.0.0.1:2"}[:n], SessionAffinity: true, MessageTimeout: time.Second}
		c, options := testExtprocs(t, g)
		if c.GetLbPolicy() != want || (len(options.GetHashPolicy()) > 0) != (n > 1) {
			t.Errorf("%d: %v, %d policies", n, c.GetLbPolicy(), len(options.GetHashPolicy()))
		}
		g.SessionAffinity = false
		if c, options = testExtprocs(t, g); c.GetLbPolicy() == clusterv3.Cluster_RING_HASH || len(options.GetHashPolicy()) > 0 {
			t.Errorf("%d, without affinity: %v", n, c.GetLbPolicy())
		}
	}
}
