package affinity

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/affinity/evict"
)

// TestOneWinnerOfManyClaims: whoever claims a key at the same instant as
// others is told the same pod as they are.
func TestOneWinnerOfManyClaims(t *testing.T) {
	c := newTable(t, Options{})
	for round := range 200 {
		key := strconv.Itoa(round)
		var wg sync.WaitGroup
		var winners atomic.Int32
		pods := make([]string, 8)
		for i := range pods {
			wg.Go(func() {
				b, won, err := c.Claim("chat", key, fmt.Sprint("pod-", i), t0)
				if err != nil {
					t.Error(err)
				}
				if pods[i] = b.Pod; won {
					winners.Add(1)
				}
			})
		}
		wg.Wait()
		for _, p := range pods {
			if p != pods[0] || winners.Load() != 1 {
				t.Fatalf("%d winners; told %v", winners.Load(), pods)
			}
		}
	}
}

// TestCountsAreExactWhileOthersRun checks the identity at moments of full
// traffic, for every strategy, and the pods' counts after it.
func TestCountsAreExactWhileOthersRun(t *testing.T) {
	for _, strategy := range evict.NewRegistry().Names() {
		t.Run(strategy, func(t *testing.T) {
			c := newTable(t, Options{Strategy: strategy, Capacity: 2000, Shards: 8, DefaultExpiration: 100 * time.Millisecond})
			var workers sync.WaitGroup
			for w := range 4 {
				workers.Go(func() { churn(c, rand.New(rand.NewPCG(3, uint64(w)))) })
			}
			done := make(chan struct{})
			go func() { workers.Wait(); close(done) }()
			for running := true; running; {
				select {
				case <-done:
					running = false
				default:
				}
				checkIdentity(t, c)
			}
			checkPods(t, c)
		})
	}
}

func churn(c *Table, rnd *rand.Rand) {
	for i := range 20_000 {
		now := t0.Add(time.Duration(i) * 20 * time.Microsecond)
		key, pod := strconv.Itoa(rnd.IntN(6000)), fmt.Sprint("pod-", rnd.IntN(5))
		switch rnd.IntN(20) {
		default:
			if _, ok := c.Lookup("chat", key, now); !ok {
				_, _, _ = c.Claim("chat", key, pod, now) // ttl may refuse
			}
		case 0:
			_, _, _ = c.Rebind(to("chat", key, pod), "pod-9", now) // there may be none
		case 1:
			_, _ = c.Move("chat", key, pod, now) // ttl may refuse
		case 2:
			c.Delete("chat", key)
		case 3:
			switch rnd.IntN(200) {
			case 0:
				c.DropPod("chat", pod)
			case 1:
				c.Expire(now)
			case 2:
				c.List("chat", pod, 50, "")
			}
		}
	}
}

// checkPods compares the pods' counts with the table's content.
func checkPods(t *testing.T, c *Table) {
	t.Helper()
	want := map[string]int{}
	for b := range c.All() {
		want[b.Pod]++
	}
	got := c.PodSessionCounts("chat")
	for pod, n := range want {
		if got[pod] != n || c.PodSessions("chat", pod) != n {
			t.Errorf("%s: %d sessions, want %d", pod, got[pod], n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("pods %v, want %v", got, want)
	}
}

// TestListWhileItChanges: bindings that are there all the time are listed
// exactly once, whatever happens to others meanwhile.
func TestListWhileItChanges(t *testing.T) {
	c := newTable(t, Options{Capacity: 50_000})
	for i := range 3000 {
		claim(t, c, "chat", fmt.Sprint("stays-", i), "a", t0)
	}
	stop := make(chan struct{})
	var other sync.WaitGroup
	other.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			key := fmt.Sprint("goes-", i%500)
			_, _, _ = c.Claim("chat", key, "b", t0) // taken already, or not
			_, _ = c.Move("chat", fmt.Sprint("stays-", i%3000), []string{"a", "b"}[i/7%2], t0)
			c.Delete("chat", key)
		}
	})
	for range 20 {
		seen := map[string]int{}
		for page, next := c.List("chat", "", 97, ""); ; page, next = c.List("chat", "", 97, next) {
			for _, b := range page {
				seen[b.Key]++
			}
			if next == "" {
				break
			}
		}
		for i := range 3000 {
			if n := seen[fmt.Sprint("stays-", i)]; n != 1 {
				t.Fatalf("stays-%d listed %d times", i, n)
			}
		}
	}
	close(stop)
	other.Wait()
}

func TestListFilters(t *testing.T) {
	c := newTable(t, Options{Capacity: 50_000})
	for i := range 100 {
		claim(t, c, fmt.Sprint("s", i%2), strconv.Itoa(i), fmt.Sprint("p", i%5), t0)
	}
	for _, tc := range []struct {
		service, pod string
		want         int
	}{{"", "", 100}, {"s1", "", 50}, {"", "p3", 20}, {"s0", "p3", 10}, {"none", "", 0}, {"s0", "none", 0}} {
		bs, next := c.List(tc.service, tc.pod, 1000, "")
		if len(bs) != tc.want || next != "" {
			t.Errorf("List(%q, %q): %d, next %q, want %d", tc.service, tc.pod, len(bs), next, tc.want)
		}
	}
	if bs, next := c.List("", "", 0, ""); len(bs) != DefaultPage || next != "" {
		t.Errorf("without a limit: %d, next %q", len(bs), next)
	}
	for _, bad := range []string{"x", "12", "ffffffffffffffff", "+00000000000000f"} {
		if bs, _ := c.List("", "", 10, bad); bs != nil || ValidCursor(bad) {
			t.Errorf("cursor %q was accepted", bad)
		}
	}
}

func TestRestore(t *testing.T) {
	c := newTable(t, Options{Capacity: 4, Shards: 1, DefaultExpiration: time.Minute})
	c.SetIdleTimeout("chat", time.Minute)
	claim(t, c, "chat", "newer", "now", t0)
	at := func(key string, idle time.Duration) statefulroute.Binding {
		return statefulroute.Binding{Service: "chat", Key: key, Pod: "then", PreviousPod: "before", Epoch: 7,
			Created: t0.Add(-time.Hour), LastSeen: t0.Add(-idle), Requests: 5}
	}
	c.SetIdleTimeout("slow", 2*time.Hour)
	slow := at("slow", time.Hour)
	slow.Service = "slow"
	n := c.Restore([]statefulroute.Binding{
		at("fresh", time.Second), at("newer", 0), at("expired", 2*time.Minute), at("in doubt", 63*time.Second), slow,
	}, t0)
	if n != 3 {
		t.Errorf("restored %d, want 3", n)
	}
	if b, _ := c.Peek("chat", "newer", t0); b.Pod != "now" {
		t.Errorf("a restored binding replaced a newer one: %+v", b)
	}
	b, ok := c.Lookup("chat", "fresh", t0)
	want := at("fresh", 0)
	want.Requests++
	if !ok || b != want {
		t.Errorf("got %+v, want %+v", b, want)
	}
	if _, ok := c.Peek("chat", "in doubt", t0); !ok {
		t.Error("a binding was dropped that may have been used since the journal heard of it")
	}
	if c.Expire(t0); c.PodSessions("slow", "then") != 1 {
		t.Error("a binding expired by the default of another service")
	}
	checkIdentity(t, c)
}

func TestCollidingKeysDoNotShareABinding(t *testing.T) {
	c := newTable(t, Options{Capacity: 100, Shards: 1})
	s, sh := c.services.getOrAdd("chat"), &c.shards[0]
	for _, key := range []string{"one", "two"} {
		var b statefulroute.Binding
		if won, err := sh.claim(&b, s, 42, key, "pod-"+key, t0.UnixNano()); err != nil || !won || b.Pod != "pod-"+key {
			t.Fatalf("%s: %+v, %v, %v", key, b, won, err)
		}
	}
	var b statefulroute.Binding
	if sh.lookup(&b, s, 42, "one", t0.UnixNano()) {
		t.Fatal("found the binding of another key")
	}
	if st := checkIdentity(t, c); st.Evictions["collision"] != 1 {
		t.Fatalf("%+v", st)
	}
}

func TestAHitDoesNotAllocate(t *testing.T) {
	c := newTable(t, Options{})
	claim(t, c, "chat", "k", "a", t0)
	if n := testing.AllocsPerRun(1000, func() { c.Lookup("chat", "k", t0) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestNamesOfPodsLongGoneAreFreed(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's own memory is counted too")
	}
	const pods, most = 2000, 50 // bytes for each
	c := newTable(t, Options{})
	claim(t, c, "chat", "k", "first", t0) // takes what every service takes
	c.DropPod("chat", "first")
	before := heap()
	for i := range pods {
		pod := fmt.Sprintf("pod-%0200d", i)
		claim(t, c, "chat", "k", pod, t0)
		if n := c.DropPod("chat", pod); n != 1 {
			t.Fatalf("dropped %d", n)
		}
	}
	if per := float64(int64(heap())-int64(before)) / pods; per > most {
		t.Errorf("%.0f B a pod are left", per)
	}
	runtime.KeepAlive(c)
}

// A binding that moves between pods is listed all the while, also when its shard's
// groups are walked at that moment.
func TestListMissesNothingThatMoves(t *testing.T) {
	c := newTable(t, Options{Capacity: 1000, Shards: 1})
	for i := range 50 {
		claim(t, c, "chat", fmt.Sprint(i), "a", t0)
	}
	stop := make(chan struct{})
	var other sync.WaitGroup
	other.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_, _ = c.Move("chat", fmt.Sprint(i%50), fmt.Sprint("pod-", i%7), t0)
			}
		}
	})
	for range 3000 {
		if bs, _ := c.List("chat", "", 100, ""); len(bs) != 50 {
			t.Errorf("listed %d of 50", len(bs))
			break
		}
	}
	close(stop)
	other.Wait()
}
