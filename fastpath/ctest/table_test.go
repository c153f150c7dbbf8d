//go:build cgo && linux

package ctest

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	statefulroute "github.com/stateful-route/stateful-route"
	"github.com/stateful-route/stateful-route/fastpath"
	"github.com/stateful-route/stateful-route/fastpath/internal/layout"
	"github.com/stateful-route/stateful-route/fastpath/module"
)

var hunted = flag.Uint64("ctest.reads", 10_000_000, "how many reads TestCReadsNothingTorn makes while entries are written")

// fromHeader is where the tests' sessions are named.
var fromHeader = statefulroute.SessionSource{Kind: statefulroute.FromHeader, Name: "x-session-id"}

func TestHashesAreThoseOfGo(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		key := [2]uint64{r.Uint64(), r.Uint64()}
		text := make([]byte, r.IntN(300))
		for i := range text {
			text[i] = byte(r.Uint32())
		}
		n := r.IntN(8)
		prefix := r.Uint64() & (1<<(8*n) - 1)
		lo, hi := layout.SipHash(key, prefix, n, string(text))
		if cLo, cHi := module.SipHash(key, prefix, n, string(text)); lo != cLo || hi != cHi {
			t.Fatalf("%x of %d bytes after %d: C %x %x, Go %x %x", key, len(text), n, cLo, cHi, lo, hi)
		}
	}
}

func TestTimesAreCountedInTheBucketsOfGo(t *testing.T) {
	for us := range uint64(200_000) {
		i := module.Bucket(us * 1000)
		if from, to := fastpath.Bounds(i); time.Duration(us)*time.Microsecond < from || time.Duration(us)*time.Microsecond >= to {
			t.Fatalf("%d µs are in bucket %d, of %v to %v", us, i, from, to)
		}
	}
	if i := module.Bucket(1 << 62); i != layout.HistBuckets-1 {
		t.Errorf("the longest times are in bucket %d", i)
	}
}

func (s *tables) decide(key string) module.Verdict {
	var h module.Headers
	h.Add(":method", "GET")
	h.Add("x-session-id", key)
	return s.core.Decide("chat", h)
}

func result(v module.Verdict) string { return layout.Results()[v.Result] }

// A session is pinned to its pod as long as it is published, its pod serves and the lease runs.
func TestSessionsArePinnedToWhereTheyArePublished(t *testing.T) {
	s := newTables(t, fromHeader)
	expect := func(key, want string, pod int) {
		t.Helper()
		v := s.decide(key)
		address := ""
		if pod >= 0 {
			address = podAddress(pod).String()
		}
		if result(v) != want || v.Address != address || v.Skip != (want == "hit") {
			t.Errorf("%s: %s at %q, want %s at %q", key, result(v), v.Address, want, address)
		}
	}
	expect("a", "unknown", -1)
	for i := range 900 {
		s.writer.Publish("chat", fmt.Sprint("s", i), podName(i%3), 0, 0)
	}
	in := 0
	for i := range 900 {
		key := fmt.Sprint("s", i)
		if _, _, ok := s.writer.TakeUse("chat", key); !ok {
			expect(key, "unknown", -1) // no place was left for it
			continue
		}
		in++
		expect(key, "hit", i%3)
		if n, _, _ := s.writer.TakeUse("chat", key); n != 1 {
			t.Errorf("%s: used %d times, want once", key, n)
		}
	}
	if in < 890 {
		t.Errorf("%d of 900 sessions have a place", in)
	}
	s.writer.Withdraw("chat", "s0")
	expect("s0", "unknown", -1)
	if err := s.writer.SetPod("chat", podName(1), podAddress(1), false); err != nil {
		t.Fatal(err)
	}
	expect("s1", "pod", -1)
	s.writer.SetLease(fastpath.Monotonic() - time.Second)
	expect("s2", "lease", -1)
	s.writer.SetLease(fastpath.NoLease)
	expect("s2", "hit", 2)
	s.writer.SetTracing(false, true)
	expect("s2", "traced", -1)
	s.writer.SetTracing(false, false)
	s.writer.RemoveService("chat")
	expect("s2", "policy", -1)
	if err := s.writer.Close(false); err != nil {
		t.Fatal(err)
	}
	expect("s2", "policy", -1)
}

// No read is of two states of the table at once, while Go moves, withdraws and publishes.
func TestCReadsNothingTorn(t *testing.T) {
	s := newTables(t, fromHeader)
	setPod := func(i, turn int) {
		digits := []string{"11.11.11.11:1111", "22.22.22.22:2222", "2.2.2.2:22222"}
		if err := s.writer.SetPod("chat", podName(i), netip.MustParseAddrPort(digits[turn%3]), true); err != nil {
			t.Error(err)
		}
	}
	for i := range 3 {
		setPod(i, 0)
	}
	keys := make([]string, 900)
	for i := range keys {
		keys[i] = fmt.Sprintf("session-%03d", i)
	}
	var done atomic.Bool
	var writes atomic.Uint64
	var writer sync.WaitGroup
	writer.Go(func() {
		for turn := 0; !done.Load(); turn++ {
			for i, key := range keys {
				if (turn*7+i*3)%5 == 0 {
					s.writer.Withdraw("chat", key)
				} else {
					s.writer.Publish("chat", key, podName((i+turn%2)%3), 0, 0)
				}
				setPod(i%3, turn+i)
				writes.Add(2)
			}
		}
	})
	began := time.Now()
	var hits, wrong, reads uint64
	for reads < *hunted {
		h, w := s.core.Hunt(1, keys, 100)
		hits, wrong, reads = hits+h, wrong+w, reads+uint64(len(keys)*100)
	}
	done.Store(true)
	writer.Wait()
	t.Logf("%d reads, %d hits, %d writes in %v: %d wrong", reads, hits, writes.Load(), time.Since(began), wrong)
	if wrong > 0 || hits < reads/4 {
		t.Errorf("of %d reads %d found their session and %d what never was", reads, hits, wrong)
	}
}

// A request that failed and begins anew finds its session as before, and is no other use of it.
func TestARequestThatBeginsAnewIsCountedOnce(t *testing.T) {
	s := newTables(t, fromHeader)
	s.writer.Publish("chat", "a", podName(1), 0, 0)
	var h module.Headers
	h.Add(":method", "GET")
	h.Add("x-session-id", "a")
	for _, decide := range []func(string, module.Headers) module.Verdict{s.core.Decide, s.core.DecideAgain} {
		if v := decide("chat", h); !v.Skip || v.Address != podAddress(1).String() {
			t.Errorf("%s at %q, want %s", result(v), v.Address, podAddress(1))
		}
	}
	if n, _, _ := s.writer.TakeUse("chat", "a"); n != 1 {
		t.Errorf("used %d times, want once", n)
	}
	if got := result(s.core.DecideAgain("chat", h)); got != "again" {
		t.Errorf("counted as %s, want again", got)
	}
	s.writer.Withdraw("chat", "a")
	if v := s.core.DecideAgain("chat", h); v.Skip || result(v) != "unknown" {
		t.Errorf("its session is gone: %s", result(v))
	}
}

// Of several keys the first that is bound counts, and the table cannot tell that of one that it
// has not: so the first has to be there.
func TestOfSeveralKeysTheFirstIsGoneBy(t *testing.T) {
	s := newTables(t, statefulroute.SessionSource{Kind: statefulroute.FromCookie, Name: "sid"})
	for i, key := range []string{"a", "b"} {
		if !s.writer.Publish("chat", key, podName(i), 0, 0) {
			t.Fatal("no place")
		}
	}
	long := strings.Repeat("x", layout.MaxKey+1)
	for cookies, want := range map[string]string{
		"sid=a; sid=b": podAddress(0).String(), "sid=b; sid=a": podAddress(1).String(), "sid=a; sid=a": podAddress(0).String(),
		"sid=a; sid=unknown": podAddress(0).String(), "sid=unknown; sid=a": "", "sid=a; sid=" + long: "", "sid=a; sid=b; sid=" + long: "",
	} {
		var h module.Headers
		h.Add(":method", "GET")
		h.Add("cookie", cookies)
		if v := s.core.Decide("chat", h); v.Address != want || v.Skip != (want != "") || want == "" && layout.Results()[v.Result] != "keys" {
			t.Errorf("%.40s: %+v, want %q", cookies, v, want)
		}
	}
}
