package discovery

import (
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	statefulroute "github.com/stateful-route/stateful-route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// t0 is when nothing depends on the time.
var t0 = time.Unix(1000, 0)

func testService(name string) statefulroute.Service {
	return statefulroute.Service{Name: name, Hosts: []string{"*"}, Prefix: "/"}
}

func testPod(name string, port uint16) statefulroute.Pod {
	return statefulroute.Pod{Name: name, Address: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), Weight: 1}
}

// await polls until ok, for up to ten seconds.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
