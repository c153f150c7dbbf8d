package shared_test

import (
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stateful-route/stateful-route/internal/redistest"
)

var races = flag.Int("races", 2000, "sessions that begin at two replicas in the same instant")

// A session that begins at two replicas in the same instant is on one pod.
func TestASessionBeginsAtTwoReplicasAtOnce(t *testing.T) {
	server := redistest.Start(t)
	const long = 5 * time.Second // that does not run out however busy the machine is
	both := []*replica{startLeased(t, server.Addr(), "a", long), startLeased(t, server.Addr(), "b", long)}
	both[0].claimed(t, "first", "chat-0")
	both[1].claimed(t, "first", "chat-0")
	const atOnce = 32 // races under way
	var next, split, second atomic.Int64
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(*races); i = next.Add(1) {
				key := fmt.Sprint("s-", i)
				var pods [2]string
				var epochs [2]uint64
				var ready, done sync.WaitGroup
				ready.Add(2)
				for r, replica := range both {
					done.Go(func() {
						ready.Done()
						ready.Wait()
						b, err := replica.request(t.Context(), key, fmt.Sprint("chat-", r))
						if err != nil {
							t.Errorf("%s at %s: %v", key, replica.name, err)
						}
						pods[r], epochs[r] = b.Pod, b.Epoch
					})
				}
				done.Wait()
				if pods[0] != pods[1] || epochs[0] != epochs[1] {
					split.Add(1)
				}
				if pods[0] == "chat-1" {
					second.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := split.Load(); n > 0 {
		t.Errorf("%d of %d sessions are on two pods", n, *races)
	}
	t.Logf("%d of %d races were won by the second replica", second.Load(), *races)
	if n := int(second.Load()); n == 0 || n == *races {
		t.Errorf("the second replica won %d of %d: they did not race", n, *races)
	}
}
